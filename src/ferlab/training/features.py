"""Features that a frozen base gives once for its head to train on: in memory, or in a file that survives a kill."""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ferlab.config.nodes import Augment
from ferlab.models.blocks import feature_model
from ferlab.records.load import Annotations
from ferlab.storage.files import NO_SPACE, atomic_path, remove_folder, writing_errors
from ferlab.training.augmentation import changer
from ferlab.training.distribution import predicted
from ferlab.training.inputs import COPIES, MemoryBatches, TrainingData
from ferlab.training.reading import BLOCK_SIZE

FEATURES, COMPLETE = "features.npy", "complete.npz"

OnFeatures = Callable[[int, int], None]
"""Told how many images the base has answered, and how many there are in all."""


@dataclass(frozen=True)
class Features:
    """``batches`` of the training images' features, and those of the validation images float32 (n, d), in order."""

    batches: MemoryBatches
    validation: np.ndarray

    def validation_blocks(self) -> Iterator[np.ndarray]:
        """Up to BLOCK_SIZE validation rows at a time."""
        for first in range(0, len(self.validation), BLOCK_SIZE):
            yield self.validation[first : first + BLOCK_SIZE]


def features_of(
    model: Any, data: TrainingData, augment: Augment, copies: int, folder: Path, on_features: OnFeatures
) -> Features:
    """The base of ``model`` runs once over each of ``copies`` augmented versions of the training images.

    With 0 copies it runs over the images as they are, and in any case over those of validation. What would take more
    than half of the memory goes to ``folder``; there it is found again as long as data, seed, augmentation, copies and
    weights are the same, otherwise it is replaced.

    Raises:
        UserError: the disk is full, or a shard is missing or damaged.

    """
    base = feature_model(model)
    base.jit_compile = model.jit_compile
    count, versions = data.train.count, max(1, copies)
    shape = (versions * count + len(data.validation.known), int(base.output_shape[-1]))
    answers = _Answers(base, data, augment, copies, on_features)
    if 4 * math.prod(shape) <= data.train.spec.memory_bytes / 2:
        remove_folder(folder)
        rows, known = _in_memory(answers, shape), answers.known
    else:
        made_of = _made_of(base, data, augment, copies, shape)
        if (kept := _kept(folder, made_of)) is None:
            _write(folder, made_of, answers, shape)
            kept = np.load(folder / FEATURES, mmap_mode="r"), answers.known
        rows, known = kept
    versioned = [rows[first : first + count] for first in range(0, versions * count, count)]
    batches = MemoryBatches(versioned, known, data.manifest, data.train.spec, data.train.taught)
    return Features(batches, rows[versions * count :])


class _Answers:
    """Blocks of features, version by version of the training images, then of validation.

    ``known`` describes the training images once their first version has been taken.
    """

    def __init__(self, base: Any, data: TrainingData, augment: Augment, copies: int, on_features: OnFeatures) -> None:
        self.base, self.data, self.copies, self.on_features = base, data, copies, on_features
        # mixed images would need mixed targets beside them
        self.change = changer(replace(augment, mixup=0.0, cutmix=0.0))
        self.known = Annotations.room_for(data.train.count, data.manifest)

    def __iter__(self) -> Iterator[np.ndarray]:
        done, total = 0, max(1, self.copies) * len(self.known) + len(self.data.validation.known)
        for images in self._images():
            answer = predicted(self.base, images).astype(np.float32, order="C", copy=False)
            yield answer
            done += len(answer)
            self.on_features(done, total)

    def _images(self) -> Iterator[np.ndarray]:
        for version in range(max(1, self.copies)):
            first = 0
            for images, known in self.data.train.blocks():
                self.known[first : first + len(images)] = known
                yield self._changed(images, version, first) if self.copies else images
                first += len(images)
        yield from self.data.validation.batches()

    def _changed(self, images: np.ndarray, version: int, first: int) -> np.ndarray:
        rng = self.data.train.spec.rng(COPIES, version, first)
        return self.change(images, np.empty((len(images), 0), np.float32), rng)[0]


def _in_memory(answers: _Answers, shape: tuple[int, int]) -> np.ndarray:
    rows, first = np.empty(shape, np.float32), 0
    for answer in answers:
        rows[first : first + len(answer)] = answer
        first += len(answer)
    return rows


def _write(folder: Path, made_of: str, answers: _Answers, shape: tuple[int, int]) -> None:
    """Both files in place of what ``folder`` held; the one that says what they are made of comes last."""
    remove_folder(folder)
    try:
        with writing_errors(folder):
            folder.mkdir(parents=True)
            with (folder / FEATURES).open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                file.flush()
                _reserve(file.fileno(), file.tell() + 4 * math.prod(shape))
                for answer in answers:
                    file.write(answer.data)
        known = answers.known
        with atomic_path(folder / COMPLETE) as partial, partial.open("wb") as file:
            np.savez(file, made_of=made_of, labels=known.labels, votes=known.votes, affect=known.affect)
    except BaseException:
        remove_folder(folder)
        raise


def _reserve(descriptor: int, size: int) -> None:
    """Claim the room on the disk, so that a full one is known before the base has answered all images."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # macOS has no such call
        return
    except OSError as error:
        # not every file system can; writing tells in the end
        if error.errno in NO_SPACE:
            raise


def _kept(folder: Path, made_of: str) -> tuple[np.ndarray, Annotations] | None:
    """Features and annotations in ``folder`` when they are complete and made of the same, else None."""
    try:
        with np.load(folder / COMPLETE) as found:
            if str(found["made_of"]) != made_of:
                return None
            known = Annotations(found["labels"], found["votes"], found["affect"])
        return np.load(folder / FEATURES, mmap_mode="r"), known
    except (OSError, ValueError, KeyError, BadZipFile):
        return None


def _made_of(base: Any, data: TrainingData, augment: Augment, copies: int, shape: tuple[int, int]) -> str:
    """What the features depend on, as JSON; of augmentation nothing when no copies are made."""
    weights = sha256()
    for array in base.get_weights():
        weights.update(array.tobytes())
    facts = {
        "dataset": data.manifest.digest,
        "seed": data.train.spec.seed,
        "copies": copies,
        "augment": asdict(augment) if copies else None,
        "weights": weights.hexdigest(),
        "shape": shape,
    }
    return json.dumps(facts, sort_keys=True)
