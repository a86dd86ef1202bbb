"""Class probabilities of a model over a prepared split."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.models.blocks import uses_xla
from ferlab.models.catalog import PROBABILITIES
from ferlab.predictions import Predictions
from ferlab.records.load import StoredSample, read_samples
from ferlab.scoring.views import PLAIN, View, combine_views
from ferlab.sealed import Opening

NO_PIXELS = np.empty(0, np.uint8)
"""In place of those that were seen: a split of large pictures does not fit into memory."""
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
    return predict_split_with_views(model, folder, manifest, split, run_id, (PLAIN,), opening)[0]


def predict_split_with_views(
    model: Any,
    folder: Path,
    manifest: Manifest,
    split: str,
    run_id: str,
    views: Sequence[View],
    opening: Opening | None = None,
) -> tuple[Predictions, Predictions]:
    """What ``predict_split`` gives, and the same with every sample's ``views`` combined; the split is read once.

    ``views`` begin with the plain one. Raises as ``predict_split`` does.
    """
    _require_fitting(model, folder, manifest, run_id)
    model.jit_compile = uses_xla()
    seen: list[StoredSample] = []
    plain, combined = [], []
    for batch in _batches(read_samples(folder, manifest, split, opening)):
        seen += [replace(sample, pixels=NO_PIXELS) for sample in batch]
        images = np.stack([sample.pixels for sample in batch])
        outputs = (_class_part(model.predict_on_batch(view.of(images))) for view in views)
        found = np.stack([np.asarray(output, np.float64) for output in outputs])
        plain.append(found[0])
        combined.append(combine_views(found))
    first = answered(seen, np.concatenate(plain), manifest, split, run_id)
    return first, replace(first, probabilities=np.concatenate(combined))


def samples_without_pixels(
    folder: Path, manifest: Manifest, split: str, opening: Opening | None = None
) -> list[StoredSample]:
    """Ids, labels, votes and twins of a split; the test split needs an ``opening``."""
    return [replace(sample, pixels=NO_PIXELS) for sample in read_samples(folder, manifest, split, opening)]


def answered(
    samples: Sequence[StoredSample],
    probabilities: np.ndarray,
    manifest: Manifest,
    split: str,
    run_id: str,
    hard: bool = False,
) -> Predictions:
    """Predictions made of samples and the probabilities (n, classes) that run ``run_id`` gives them."""
    return Predictions(
        ids=tuple(sample.id for sample in samples),
        labels=np.array([sample.label for sample in samples], np.int64),
        probabilities=probabilities,
        classes=manifest.classes,
        split=split,
        taxonomy=manifest.taxonomy,
        protocol=manifest.protocol,
        dataset_digest=manifest.digest,
        run_id=run_id,
        twins=_twins(samples),
        votes=_votes(samples),
        hard=hard,
    )


def _require_fitting(model: Any, folder: Path, manifest: Manifest, run_id: str) -> None:
    expected = (manifest.size_px, manifest.size_px, manifest.channels)
    shapes = dict(zip(model.output_names, (output.shape for output in model.outputs), strict=True))
    given, classes = tuple(model.input_shape[1:]), shapes.get(PROBABILITIES, model.outputs[0].shape)[-1]
    if given != expected or classes != len(manifest.classes):
        message = (
            f"run {run_id}: its model takes images {given} and gives {classes} classes; "
            f"{folder} holds images {expected} of {len(manifest.classes)} classes."
        )
        raise UserError(message)


def _class_part(outputs: Any) -> Any:
    """What belongs to the classes among a model's outputs; one with valence and arousal has two."""
    return outputs[PROBABILITIES] if isinstance(outputs, dict) else outputs


def _batches(samples: Iterator[StoredSample]) -> Iterator[list[StoredSample]]:
    while batch := list(islice(samples, BATCH)):
        yield batch


def _twins(samples: Sequence[StoredSample]) -> np.ndarray | None:
    twins = [sample.twin for sample in samples]
    return None if None in twins else np.array(twins, bool)


def _votes(samples: Sequence[StoredSample]) -> np.ndarray | None:
    return np.array([sample.votes for sample in samples]) if all(sample.votes for sample in samples) else None
