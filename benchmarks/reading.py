"""Speed of reading prepared data back for training, against Keras reading the same JPEGs from a folder.

    python benchmarks/reading.py [--images 6000] [--small 24000] [--rounds 5] [--work DIR]

Drawn faces are prepared as 224 px JPEG and raw records and as 48 px PNG records; the bytes of the JPEG records are also
written out as files for `keras.utils.image_dataset_from_directory`. All are read in turn on two cores in one process,
one epoch of decoded batches a pass, building the pipeline included. Before every pass the pages of all its files are
dropped from the page cache (posix_fadvise DONTNEED), so it reads from the disk. Prepared data is kept below --work.

Bars: JPEG shards at least as fast as the folder, raw shards at least twice as fast (medians of the ratios within a
round), 48 px PNG records at least 15,000 images/s (median).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.manifest import Manifest
from ferlab.records.example import decode_example
from ferlab.records.tfrecord import read_records
from ferlab.samples import TRAIN
from ferlab.training.inputs import BatchSpec, training_data

CORES, BATCH, SMALL_BATCH, SEED = 2, 64, 128, 0
JPEG_BAR, RAW_BAR, SMALL_BAR = 1.0, 2.0, 15_000
FOLDER, JPEG, RAW, SMALL = "Keras, JPEG files in a folder", "JPEG shards", "raw shards", "48 px PNG shards"
AFFECTNET = ("dataset=affectnet7", "dataset.layout=affectnet-folder")


@dataclass(frozen=True)
class Source:
    """Files on disk and how to open them as a new dataset of one epoch."""

    name: str
    files: tuple[Path, ...]
    open: Callable[[], Any]


def prepared(work: Path, count: int, *overrides: str) -> Path:
    """The folder of ``count`` drawn faces, prepared by the command itself and kept."""
    output = work / "prepared.json"
    command = [sys.executable, "-m", "ferlab", "prepare", *overrides, f"dataset.synthesize.count={count}"]
    subprocess.run(
        [*command, f"compute.cores={CORES}", "--json", str(output)],
        env=os.environ | {"FERLAB_HOME": str(work / "home")},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Path(json.loads(output.read_text())["folder"])


def jpeg_files(folder: Path, target: Path) -> Path:
    """The images of the training records as ``<class>/<number>.jpg``, written once."""
    manifest = Manifest.load(folder)
    written = target / manifest.digest[:16]
    if written.exists():
        return written
    partial = written.with_name(written.name + ".partial")
    records = (row for shard in manifest.split_shards(TRAIN) for row in read_records(folder / shard.name))
    for number, record in enumerate(records):
        row = decode_example(record)
        file = partial / manifest.classes[int(row["label"][0])] / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(row["image"]))  # type: ignore[arg-type]
    partial.rename(written)
    return written


def folder_source(folder: Path, size_px: int) -> Source:
    """Keras's own reader of class folders."""

    def open_folder() -> Any:
        import keras

        return keras.utils.image_dataset_from_directory(
            folder, label_mode="categorical", image_size=(size_px, size_px), batch_size=BATCH, seed=SEED, verbose=False
        )

    return Source(FOLDER, tuple(sorted(folder.rglob("*.jpg"))), open_folder)


def shard_source(name: str, folder: Path, batch_size: int) -> Source:
    """What training streams from shards, without augmentation."""
    manifest = Manifest.load(folder)
    spec = BatchSpec(batch_size, SEED, "none", (1.0,) * len(manifest.classes), max_steps=0, memory_bytes=0)

    def open_shards() -> Any:
        return training_data(folder, manifest, spec).train.epoch(0, None)

    return Source(name, tuple(folder / shard.name for shard in manifest.split_shards(TRAIN)), open_shards)


def drop_pages(files: tuple[Path, ...]) -> None:
    """Take the files out of the page cache; they must have reached the disk before."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def images_per_s(source: Source) -> float:
    """Decoded images per second of one pass that starts with a cold page cache."""
    drop_pages(source.files)
    started = time.monotonic()
    count = sum(int(batch[0].shape[0]) for batch in source.open())
    return count / (time.monotonic() - started)


def sources(work: Path, images: int, small: int) -> list[Source]:
    """All that is compared, prepared and on the disk."""
    jpeg, raw = (prepared(work, images, *AFFECTNET, f"preparation.encoding={name}") for name in ("jpeg", "raw"))
    png = prepared(work, small, "dataset=synthetic", "preparation.encoding=png")
    folder = jpeg_files(jpeg, work / "files")
    os.sync()
    return [
        folder_source(folder, Manifest.load(jpeg).size_px),
        shard_source(JPEG, jpeg, BATCH),
        shard_source(RAW, raw, BATCH),
        shard_source(SMALL, png, SMALL_BATCH),
    ]


def report(rates: dict[str, list[float]], megabytes: dict[str, float]) -> list[str]:
    """Print the table; the bars that were missed, in words."""
    bars = {JPEG: JPEG_BAR, RAW: RAW_BAR}
    missed = []
    print(f"{'':<32}{'MB':>8}{'images/s':>10}{'slowest':>10}{'fastest':>10}{'ratio':>8}{'bar':>8}")
    for name, found in rates.items():
        median = statistics.median(found)
        ratio = statistics.median(rate / base for rate, base in zip(found, rates[FOLDER], strict=True))
        speeds = f"{median:>10,.0f}{min(found):>10,.0f}{max(found):>10,.0f}"
        bar = bars.get(name, SMALL_BAR if name == SMALL else "")
        print(f"{name:<32}{megabytes[name]:>8,.0f}{speeds}{'' if name == SMALL else f'{ratio:.2f}':>8}{bar:>8}")
        if name in bars and ratio < bars[name]:
            missed.append(f"{name}: {ratio:.2f} times the folder's rate < {bars[name]}")
        if name == SMALL and median < SMALL_BAR:
            missed.append(f"{name}: {median:,.0f} images/s < {SMALL_BAR:,}")
    return missed


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000, help="224 px faces, test split included")
    parser.add_argument("--small", type=int, default=24_000, help="48 px faces, test split included")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ferlab-bench" / "reading")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("Pinning to two cores and dropping files from the page cache need Linux.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    options.work.mkdir(parents=True, exist_ok=True)
    compared = sources(options.work, options.images, options.small)
    for source in compared:
        images_per_s(source)  # Keras and the decoder set themselves up in their first pass
    rates: dict[str, list[float]] = {source.name: [] for source in compared}
    for _ in range(options.rounds):
        for source in compared:
            rates[source.name].append(images_per_s(source))
    print(f"{options.rounds} rounds on {CORES} cores, medians; page cache dropped by posix_fadvise before every pass")
    missed = report(
        rates, {source.name: sum(file.stat().st_size for file in source.files) / 1e6 for source in compared}
    )
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
