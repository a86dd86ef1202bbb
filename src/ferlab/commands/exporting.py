"""What exporting a recorded run needs: its model, its description, images of its validation split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.commands.backend import set_up_backend
from ferlab.commands.launch import Context
from ferlab.commands.prepared_data import find_prepared
from ferlab.config.nodes import Compute
from ferlab.edge.description import Description
from ferlab.edge.graph import answer_only
from ferlab.errors import UserError
from ferlab.inference.describing import description_of
from ferlab.manifest import Manifest
from ferlab.records.load import read_samples
from ferlab.samples import VALIDATION
from ferlab.tracking.records import RunRecord

APART = 1000
"""Images that must be left for the comparison where those of the calibration take no part in it."""


@dataclass(frozen=True)
class Subject:
    """A run whose model is exported, with the prepared data that it was validated on."""

    record: RunRecord
    description: Description
    model: Any
    folder: Path
    manifest: Manifest


@dataclass(frozen=True)
class Drawn:
    """Validation images, uint8 (n, size_px, size_px, channels): ``representative`` for int8, ``images`` to compare on.

    ``labels`` (n,) are of ``images``. ``apart``: the two have no image in common.
    """

    representative: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    apart: bool


def subject_of(record: RunRecord, context: Context, compute: Compute) -> Subject:
    """Load a run's model and find its data.

    Raises:
        UserError: the run has no model, its prepared data is gone, or the two do not belong together.

    """
    description = description_of(record)
    folder, manifest = find_prepared(context, description.dataset_digest)
    set_up_backend(compute)
    model = answer_only(record.load_model())
    given, expected = (
        (*model.input_shape[1:], model.output_shape[-1]),
        (*description.image_shape, len(manifest.classes)),
    )
    if given != expected or description.classes != manifest.classes:
        message = (
            f"run {record.id} ({record.name}): its model takes and gives {given}, the data of {folder} {expected}."
        )
        raise UserError(message)
    return Subject(record, description, model, folder, manifest)


def drawn_images(folder: Path, manifest: Manifest, calibration: int, most: int, seed: int) -> Drawn:
    """Draw ``calibration`` validation images, and at most ``most`` of the others.

    Where fewer than APART others would be left, the comparison is on all images.
    """
    total = sum(shard.samples for shard in manifest.split_shards(VALIDATION))
    order = np.random.default_rng(seed).permutation(total)
    apart = total - calibration >= min(APART, most)
    chosen = order[:calibration], (order[calibration:] if apart else order)[:most]
    places = [{int(row): place for place, row in enumerate(rows)} for rows in chosen]
    shape = (manifest.size_px, manifest.size_px, manifest.channels)
    found = [np.empty((len(rows), *shape), np.uint8) for rows in chosen]
    labels = np.empty(len(chosen[1]), np.int64)
    for row, sample in enumerate(read_samples(folder, manifest, VALIDATION)):
        for place_of, images in zip(places, found, strict=True):
            if row in place_of:
                images[place_of[row]] = sample.pixels
        if row in places[1]:
            labels[places[1][row]] = sample.label
    return Drawn(found[0], found[1], labels, apart)
