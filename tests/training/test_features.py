"""Cached features: kept on the disk as long as they are made of the same, told as they come, no trace of a failure."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Augment
from ferlab.errors import UserError
from ferlab.preparation.prepare import Prepared
from ferlab.training.features import COMPLETE, FEATURES, Features, features_of
from ferlab.training.inputs import BatchSpec, TrainingData, training_data

SPEC = BatchSpec(64, 0, "weights", tuple(0.5 + 0.1 * i for i in range(7)), 0, memory_bytes=0)
FLIP = Augment("flip", flip=True)
MakeNetwork = Callable[..., Any]


class Told:
    """Every number of images that was told, and the total."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.total = 0

    def __call__(self, done: int, total: int) -> None:
        self.done.append(done)
        self.total = total


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def data_of(prepared: Prepared, **changes: Any) -> TrainingData:
    return training_data(prepared.folder, prepared.manifest, replace(SPEC, **changes))


def made(
    model: Any, data: TrainingData, folder: Path, augment: Augment = FLIP, copies: int = 2
) -> tuple[Features, Told]:
    told = Told()
    return features_of(model, data, augment, copies, folder, told), told


def same(one: Features, other: Features) -> bool:
    arrays = zip([*one.batches.copies, one.validation], [*other.batches.copies, other.validation], strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in arrays)


@pytest.mark.parametrize("memory_bytes", [1e9, 0], ids=["memory", "file"])
def test_every_image_that_the_base_has_answered_is_told(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, memory_bytes: float
) -> None:
    data = data_of(prepared, memory_bytes=memory_bytes)
    _, told = made(make_network(), data, tmp_path / "features")
    assert told.total == 2 * data.train.count + len(data.validation.known)
    assert told.done == sorted(set(told.done))
    assert told.done[-1] == told.total
    assert max(np.diff([0, *told.done])) <= 256


def test_a_resumed_run_takes_up_what_was_made(make_network: MakeNetwork, prepared: Prepared, tmp_path: Path) -> None:
    first, _ = made(make_network(), data_of(prepared), tmp_path / "features")
    written = (tmp_path / "features" / FEATURES).stat().st_ino
    again, told = made(make_network(), data_of(prepared), tmp_path / "features")
    assert told.done == []
    assert (tmp_path / "features" / FEATURES).stat().st_ino == written
    assert same(first, again)
    for name in ("labels", "votes", "affect"):
        np.testing.assert_array_equal(
            getattr(first.batches.known, name), getattr(again.batches.known, name), err_msg=name
        )
    batches = zip(first.batches.epoch(1, None), again.batches.epoch(1, None), strict=True)
    for one, other in batches:
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "change",
    ["weights", "seed", "augment", "copies", "dataset", "not complete", "damaged"],
)
def test_what_is_made_of_something_else_is_made_anew(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, change: str
) -> None:
    folder, data = tmp_path / "features", data_of(prepared)
    made(make_network(), data, folder)
    expected = {"copies": 1} if change == "copies" else {}
    if change == "seed":
        data = data_of(prepared, seed=1)
    elif change == "dataset":
        data = training_data(prepared.folder, replace(prepared.manifest, digest="another"), SPEC)
    elif change == "augment":
        expected = {"augment": replace(FLIP, brightness=0.2)}
    elif change == "not complete":
        (folder / COMPLETE).unlink()
    elif change == "damaged":
        (folder / COMPLETE).write_bytes(b"PK")
    model = make_network(seed=int(change == "weights"))
    found, told = made(model, data, folder, **expected)
    assert told.done[-1] == told.total
    fresh, _ = made(model, data, tmp_path / "fresh", **expected)
    assert same(found, fresh)


def test_the_head_does_not_decide_what_the_base_answers(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    model = make_network()
    made(model, data_of(prepared), tmp_path)
    model.get_layer("logits").set_weights([weight + 1 for weight in model.get_layer("logits").get_weights()])
    assert made(model, data_of(prepared), tmp_path)[1].done == []


@pytest.mark.parametrize("at_once", [True, False], ids=["no room", "room that cannot be claimed"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """A limit on the size of files stands for the disk; where room cannot be claimed, writing finds out."""
    told, model, data = Told(), make_network(), data_of(prepared)
    folder = tmp_path / "features"
    if not at_once:

        def unable(descriptor: int, offset: int, size: int) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(os, "posix_fallocate", unable)
    with files_of_at_most(20_000), pytest.raises(UserError, match="the disk is full") as refusal:
        features_of(model, data, FLIP, 2, folder, told)
    assert "\n" not in str(refusal.value)
    assert bool(told.done) == (not at_once)
    assert not folder.exists()


def test_ctrl_c_while_features_are_made_leaves_nothing(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features_of(make_network(), data_of(prepared), FLIP, 1, tmp_path / "features", stop)
    assert not (tmp_path / "features").exists()
