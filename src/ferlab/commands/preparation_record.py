"""What a preparation leaves in MLflow: counts, timings, bytes, rejections, and a look at the pictures."""

import tempfile
from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np

from ferlab.evaluation.figures import class_counts_figure, mosaic_figure
from ferlab.manifest import MANIFEST_NAME, REJECTED_NAME
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import read_shard
from ferlab.samples import TRAIN
from ferlab.storage import places
from ferlab.storage.objects import is_remote
from ferlab.tracking.run import Run

PICTURES, LOOKED_AT = 12, 1000
"""Pictures of each category in the mosaic, out of so many."""


def log_preparation(run: Run, prepared: Prepared) -> None:
    """Write the outcome of a preparation on its run."""
    manifest = prepared.manifest
    run.log_dataset(manifest, prepared.place, "prepare")
    run.log_metrics(
        {
            "images": manifest.total,
            "rejected": manifest.total_rejected,
            "seconds": prepared.seconds,
            "images_per_s": prepared.images_per_s,
            "megabytes_in": prepared.bytes_in / 1e6,
            "megabytes_out": prepared.bytes_out / 1e6,
            "shards": len(manifest.shards),
            "shards_kept": prepared.kept,
        }
        | {f"seconds_{name.replace(' ', '_')}": seconds for name, seconds in prepared.steps.items()}
    )
    with tempfile.TemporaryDirectory(prefix="ferlab-") as scratch:
        for name in (MANIFEST_NAME, REJECTED_NAME):
            places.fetch(places.joined(prepared.place, name), Path(scratch) / name)
            run.log_file(Path(scratch) / name)
    title = f"{manifest.protocol}: samples per category"
    run.log_figure(class_counts_figure(manifest.counts, title), "figures/class_counts.png")
    pictures = _pictures(prepared)
    if pictures:
        run.log_figure(mosaic_figure(pictures, f"{manifest.protocol}, as stored"), "figures/mosaic.png")


def _pictures(prepared: Prepared) -> dict[str, list[np.ndarray]]:
    """Up to PICTURES training pictures of each category: the first of the first shard."""
    manifest = prepared.manifest
    shard = next(shard for shard in manifest.split_shards(TRAIN) if shard.samples)
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="ferlab-") as scratch:
        file = prepared.folder / shard.name
        if is_remote(prepared.place):
            file = Path(scratch) / shard.name
            places.fetch(places.joined(prepared.place, shard.name), file)
        for sample in islice(read_shard(file, manifest, shard), LOOKED_AT):
            pictures = found[manifest.classes[sample.label]]
            if len(pictures) < PICTURES:
                pictures.append(sample.pixels)
    return {name: found[name] for name in manifest.classes if found[name]}
