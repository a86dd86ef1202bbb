"""Class probabilities of a model over a prepared split."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.imaging.codec import decode_record
from ferlab.manifest import Manifest
from ferlab.predictions import Predictions
from ferlab.records.example import decode_example
from ferlab.records.tfrecord import read_records

BATCH = 256
"""Images a step: one fixed size, so that the arithmetic is the same for every split."""


def predict_split(
    model: Any,
    folder: Path,
    manifest: Manifest,
    split: str,
    run_id: str,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Predictions:
    """Predictions of ``model`` on every sample of ``split``, read batch by batch.

    Raises:
        UserError: the model's input or number of classes does not fit the dataset, or a shard is damaged.
    """
    expected = (manifest.size_px, manifest.size_px, manifest.channels)
    if tuple(model.input_shape[1:]) != expected or model.output_shape[-1] != len(manifest.classes):
        message = (
            f"run {run_id}: its model takes images {tuple(model.input_shape[1:])} and gives {model.output_shape[-1]} "
            f"classes; {folder} holds images {expected} of {len(manifest.classes)} classes."
        )
        raise UserError(message)
    ids: list[str] = []
    labels: list[int] = []
    probabilities = []
    for batch in _batches(folder, manifest, split):
        ids += [row[0] for row in batch]
        labels += [row[1] for row in batch]
        images = np.stack([row[2] for row in batch])
        probabilities.append(np.asarray(model.predict_on_batch(images), np.float64))
        on_progress(len(ids))
    if not ids:
        message = f"{folder}: its {split} split is empty."
        raise UserError(message)
    return Predictions(
        ids=tuple(ids),
        labels=np.array(labels, np.int64),
        probabilities=np.concatenate(probabilities),
        classes=manifest.classes,
        split=split,
        taxonomy=manifest.taxonomy,
        protocol=manifest.protocol,
        dataset_digest=manifest.digest,
        run_id=run_id,
    )


def _batches(folder: Path, manifest: Manifest, split: str) -> Iterator[list[tuple[str, int, np.ndarray]]]:
    batch = []
    for shard in manifest.split_shards(split):
        try:
            for payload in read_records(folder / shard.name):
                row = decode_example(payload)
                pixels = decode_record(row["image"], manifest.encoding, manifest.size_px, manifest.colour)  # type: ignore[arg-type]
                batch.append((row["id"].decode(), int(row["label"][0]), pixels))  # type: ignore[union-attr,arg-type]
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        except FileNotFoundError as error:
            message = f"{folder / shard.name}: is missing. Remove the folder and run `ferlab prepare` again."
            raise UserError(message) from error
    if batch:
        yield batch
