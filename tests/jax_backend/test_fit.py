"""Ferlab's ``fit`` on the JAX backend: what TensorFlow gives, resumed or not, in one process or in two."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferlab.manifest import Manifest
from ferlab.samples import TRAIN

SCRIPT = Path(__file__).with_name("phased_training.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def begin(start_in_jax, prepared, tmp_path_factory):
    """``begin(**options)``: a training under way on JAX, and its folder."""

    def start(folder=prepared.folder, **options):
        work = tmp_path_factory.mktemp("work")
        return start_in_jax(SCRIPT, {"folder": str(folder), "work": str(work), **options}), work

    return start


@pytest.fixture(scope="module")
def train(begin, outcome_of):
    """``train(**options)``: the outcome of a training on JAX with its weights."""

    def run(**options):
        return finished(*begin(**options), outcome_of)

    return run


@pytest.fixture(scope="module")
def train_in_two(begin, outcome_of):
    """``train_in_two(folders, **options)``: outcomes and work folders of both processes of one training."""

    def run(folders=None, **options):
        join = [f"127.0.0.1:{free_port()}", 2]
        where = [{"folder": folder} for folder in folders] if folders else [{}, {}]
        both = [begin(join=[*join, part], **where[part], **options) for part in (0, 1)]
        return [finished(*started, outcome_of) for started in both], [work for _, work in both]

    return run


@pytest.fixture(scope="module")
def two_phases(train):
    """Head on cached features, then all layers, augmented, with moving averages."""
    return train(augment="light", ema=0.8)


@pytest.fixture(scope="module")
def in_memory(train):
    return train()


def finished(process, work, outcome_of):
    outcome = outcome_of(process)
    with np.load(work / "weights.npz") as arrays:
        return outcome | {"weights": [arrays[name] for name in sorted(arrays, key=lambda name: int(name[4:]))]}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def assert_same(got, wanted, atol):
    """Same losses and accuracies in every epoch, same best epoch, same weights in the end."""
    assert got["best_epoch"] == wanted["best_epoch"]
    for mine, theirs in zip(got["history"], wanted["history"], strict=True):
        assert mine["phase"] == theirs["phase"]
        numbers = {key: value for key, value in theirs.items() if key != "phase"}
        assert {key: mine[key] for key in numbers} == pytest.approx(numbers, abs=atol)
    for mine, theirs in zip(got["weights"], wanted["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=10 * atol)


def test_the_training_that_is_compared_learns(two_phases):
    """Else equal losses would say nothing."""
    assert [row["phase"] for row in two_phases["history"]] == ["head", "head", "all", "all", "all"]
    losses = [row["loss"] for row in two_phases["history"]]
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize("more", [{}, {"distill": 0.7}], ids=["labels", "teacher"])
def test_jax_sees_the_batches_of_tensorflow_and_ends_where_it_ends(train, two_phases, prepared, tmp_path, more):
    options = {"augment": "light", "ema": 0.8, **more}
    found = train(**options) if more else two_phases
    asked = {"folder": str(prepared.folder), "work": str(tmp_path), **options}
    other = subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(asked)], env=os.environ | {"KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    printed, errors = other.communicate(timeout=600)
    assert other.returncode == 0, errors[-3000:]
    wanted = json.loads(printed.splitlines()[-1])
    with np.load(tmp_path / "weights.npz") as arrays:
        wanted["weights"] = [arrays[f"arr_{number}"] for number in range(len(arrays))]
    assert found["batches"] == wanted["batches"]
    assert_same(found, wanted, 1e-3)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_training_ends_as_an_uninterrupted_one(train, two_phases, stop_after):
    assert_same(train(augment="light", ema=0.8, stop_after=stop_after), two_phases, 1e-5)


def test_two_processes_end_with_the_losses_of_one(train_in_two, in_memory):
    outcomes, works = train_in_two()
    for outcome in outcomes:
        assert (outcome["devices"], in_memory["devices"]) == (2, 1)
        assert_same(outcome, in_memory, 1e-4)
    assert any(works[0].glob("epoch-*"))
    assert [file.name for file in works[1].iterdir()] == ["weights.npz"]


def test_two_processes_resume_from_the_checkpoint_of_the_first(train_in_two, in_memory):
    for outcome in train_in_two(stop_after=3)[0]:
        assert_same(outcome, in_memory, 1e-4)


def test_two_processes_stream_shards_of_their_own(train_in_two, train, prepared, tmp_path):
    """Neither can read a shard of the other: it is not there. A process alone is fed both halves of every batch."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for part, folder in enumerate(folders):
        shutil.copytree(prepared.folder, folder)
        shards = Manifest.load(folder).split_shards(TRAIN)
        assert len(shards) > 3
        for shard in shards[1 - part :: 2]:
            (folder / shard.name).unlink()
    outcomes, _ = train_in_two(folders, memory_bytes=0, augment="light")
    wanted = train(memory_bytes=0, augment="light", joined=True)
    for outcome in outcomes:
        assert_same(outcome, wanted, 1e-4)
    for mine, theirs in zip(outcomes[0]["weights"], outcomes[1]["weights"], strict=True):
        np.testing.assert_array_equal(mine, theirs)
