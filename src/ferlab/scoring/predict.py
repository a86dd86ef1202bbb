"""Class probabilities of a model over a prepared split."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.predictions import Predictions
from ferlab.records.load import StoredSample, read_samples
from ferlab.sealed import Opening

BATCH = 256
"""Images a step: one fixed size, so that the arithmetic is the same for every split."""


def predict_split(
    model: Any,
    folder: Path,
    manifest: Manifest,
    split: str,
    run_id: str,
    opening: Opening | None = None,
) -> Predictions:
    """Predictions of ``model`` on every sample of ``split``, read batch by batch; the test split needs an ``opening``.

    Raises:
        SealedSplitError: the test split, without an ``opening``.
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
    twins: list[bool | None] = []
    probabilities = []
    for batch in _batches(read_samples(folder, manifest, split, opening)):
        ids += [sample.id for sample in batch]
        labels += [sample.label for sample in batch]
        twins += [sample.twin for sample in batch]
        images = np.stack([sample.pixels for sample in batch])
        probabilities.append(np.asarray(model.predict_on_batch(images), np.float64))
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
        twins=None if None in twins else np.array(twins, bool),
    )


def _batches(samples: Iterator[StoredSample]) -> Iterator[list[StoredSample]]:
    while batch := list(islice(samples, BATCH)):
        yield batch
