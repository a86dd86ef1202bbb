"""What each encoding of the records costs and gives: bytes, speed of preparation and of reading, accuracy.

    python benchmarks/encodings.py [--root DIR] [--images 12000] [--size-px N] [--epochs 8] [--seeds 0] [--rounds 5]

The same samples are prepared as jpeg, png, raw and float32 (size_px * size_px * channels values in 0..1), read back
as training reads them, on two cores with a cold page cache, in turn, and `seq1` is trained on each with the same
settings. They are drawn faces, or FER-2013 in the folder --root (protocol carved). png, raw and float32 hold the same
pixels, so their accuracies differ by the rounding of the training alone, which shows how much of jpeg's difference
means anything.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reading import CORES, SMALL_BATCH, images_per_s, shard_source

from ferlab.manifest import ENCODINGS, Manifest
from ferlab.samples import TRAIN


@dataclass(frozen=True)
class Encoded:
    """One encoding of the samples; ``accuracies`` on validation: value, low and high of each seed."""

    encoding: str
    folder: Path
    bytes_per_image: float
    prepared_per_s: float
    accuracies: tuple[dict[str, float], ...]


def ferlab(home: Path, command: str, *overrides: str) -> dict[str, Any]:
    """Run a command in its own process; what it writes for ``--json``."""
    output = home / f"{command}.json"
    subprocess.run(
        [sys.executable, "-m", "ferlab", command, *overrides, f"compute.cores={CORES}", "--json", str(output)],
        env=os.environ | {"FERLAB_HOME": str(home)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    result: dict[str, Any] = json.loads(output.read_text())
    return result


def encoded(home: Path, encoding: str, data: list[str], training: list[str], seeds: list[int]) -> Encoded:
    """Prepare the samples in one encoding and train on them."""
    settings = [*data, f"preparation.encoding={encoding}"]
    prepared = ferlab(home, "prepare", *settings)
    folder = Path(prepared["folder"])
    shards = Manifest.load(folder).split_shards(TRAIN)
    trained = [ferlab(home, "train", *settings, *training, f"seed={seed}") for seed in seeds]
    return Encoded(
        encoding=encoding,
        folder=folder,
        bytes_per_image=sum(shard.bytes for shard in shards) / sum(shard.samples for shard in shards),
        prepared_per_s=prepared["images_per_s"],
        accuracies=tuple(run["metrics"]["accuracy"] for run in trained),
    )


def reading_rates(rows: list[Encoded], rounds: int) -> dict[str, float]:
    """Images per second of each encoding, cold page cache, median of the rounds."""
    opened = [shard_source(row.encoding, row.folder, SMALL_BATCH) for row in rows]
    os.sync()
    for source in opened:
        images_per_s(source)  # the decoder sets itself up in its first pass
    found: dict[str, list[float]] = {source.name: [] for source in opened}
    for _ in range(rounds):
        for source in opened:
            found[source.name].append(images_per_s(source))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder with a copy of FER-2013; drawn faces without it")
    parser.add_argument("--images", type=int, default=12_000, help="drawn faces, test split included")
    parser.add_argument("--size-px", type=int, help="side of the records; the dataset's own without it")
    parser.add_argument("--epochs", type=int, default=8, help="at most 8")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("Pinning to two cores and dropping files from the page cache need Linux.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    data = ["dataset=synthetic", f"dataset.synthesize.count={options.images}"]
    if options.root:
        data = ["dataset=fer2013", f"dataset.root={options.root}", "dataset.protocol=carved"]
    data += [f"preparation.size_px={options.size_px}"] if options.size_px else []
    training = ["backbone=seq1", "recipe=quick", f"debug.max_epochs={options.epochs}"]
    with tempfile.TemporaryDirectory(prefix="ferlab-encodings-") as home:
        rows = [encoded(Path(home), encoding, data, training, options.seeds) for encoding in ENCODINGS]
        rates = reading_rates(rows, options.rounds)
    print(f"{'encoding':<10}{'bytes/image':>13}{'prepared/s':>12}{'read/s':>10}  accuracy on validation by seed")
    for row in rows:
        shown = "  ".join(
            f"{100 * a['value']:.1f} [{100 * a['low']:.1f}, {100 * a['high']:.1f}]" for a in row.accuracies
        )
        speeds = f"{row.prepared_per_s:>12,.0f}{rates[row.encoding]:>10,.0f}"
        print(f"{row.encoding:<10}{row.bytes_per_image:>13,.0f}{speeds}  {shown}")


if __name__ == "__main__":
    main()
