"""A profile: where the time goes is found again when it is known; its parts make up the step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.preparation.prepare import Prepared
from ferlab.training.augmentation import Change
from ferlab.training.inputs import Batch, BatchSpec, MemoryBatches, TrainingData, training_data
from ferlab.training.phases import FitSpec
from ferlab.training.profile import BROWSER_TRACE, TRACE, Profile, markdown, profiled

MakeNetwork = Callable[..., Any]
BATCH, STEPS, DELAY_S = 16, 16, 0.03


class SlowBatches(MemoryBatches):
    """Batches that come one every DELAY_S."""

    def epoch(self, number: int, change: Change | None) -> Iterator[Batch]:
        for batch in super().epoch(number, change):
            time.sleep(DELAY_S)
            yield batch


@pytest.fixture(scope="module")
def data(prepared: Prepared) -> TrainingData:
    spec = BatchSpec(BATCH, 0, "none", (1.0,) * 7, 8, 1e9)
    return training_data(prepared.folder, prepared.manifest, spec)


def profile_of(
    model: Any, data: TrainingData, folder: Path, steps: int = STEPS, train_all: bool = True, **phase: Any
) -> Profile:
    phases = [Phase("first", 3, 1e-3, **phase), Phase("second", 3, 1e-3)]
    how = FitSpec(Recipe("test", phases=phases, batch_size=BATCH), Augment("flips", flip=True), 0, train_all)
    return profiled(model, data, how, steps, folder)


def assert_parts_make_up_the_step(found: Profile) -> None:
    assert found.waiting_ms + found.forward_ms + found.learning_ms == pytest.approx(found.step_ms)
    assert min(found.waiting_ms, found.forward_ms, found.learning_ms) >= 0
    assert found.images_per_s == pytest.approx(1000 * BATCH / found.step_ms)


def test_slow_input_is_what_a_step_waits_for(make_network: MakeNetwork, data: TrainingData, tmp_path: Path) -> None:
    train = data.train
    assert isinstance(train, MemoryBatches)
    slow = replace(data, train=SlowBatches(train.copies, train.known, train.manifest, train.spec))
    found = profile_of(make_network(), slow, tmp_path)
    assert found.step_ms >= 900 * DELAY_S
    assert found.waiting_ms > 0.6 * found.step_ms
    assert found.making_ms >= 1000 * DELAY_S
    assert found.making_thread_ms < 0.5 * found.making_ms  # asleep, it takes no core
    assert_parts_make_up_the_step(found)


def test_a_profile_of_the_first_phase(make_network: MakeNetwork, data: TrainingData, tmp_path: Path) -> None:
    found = profile_of(make_network(dropout=0.2), data, tmp_path, steps=9)
    assert (found.phase, found.batch_size, found.steps) == ("first", BATCH, 16)  # whole groups of 8, in two rounds
    assert_parts_make_up_the_step(found)
    assert found.forward_ms > 0
    assert 0 < found.making_thread_ms < 100
    assert len(found.operations) == 10
    assert [cost.total_ms for cost in found.operations] == sorted((c.total_ms for c in found.operations), reverse=True)
    assert sum(cost.share for cost in found.operations) <= 1
    assert any("Conv2D" in cost.kind for cost in found.operations)
    assert {TRACE, BROWSER_TRACE} <= {file.name for file in tmp_path.iterdir()}
    assert found.metrics()["images_per_s"] == found.images_per_s
    assert all(isinstance(value, int | float) for value in found.metrics().values())


def test_a_phase_on_cached_features_trains_the_head_alone(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    head = Recipe("head", phases=[Phase("head", 3, 1e-3, trainable=0.0)], batch_size=BATCH)
    found = profiled(make_network(), data, FitSpec(head, Augment("flips", flip=True), 0, False), STEPS, tmp_path)
    assert not any("Conv2D" in cost.kind for cost in found.operations)
    assert_parts_make_up_the_step(found)


def test_of_several_phases_the_one_that_trains_the_base_is_looked_at(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    found = profile_of(make_network(), data, tmp_path, train_all=False, trainable=0.0)
    assert found.phase == "second"
    assert any("Conv2D" in cost.kind for cost in found.operations)


def test_the_tables_say_it_all(make_network: MakeNetwork, data: TrainingData, tmp_path: Path) -> None:
    found = profile_of(make_network(), data, tmp_path)
    text = markdown(found)
    for row in (*found.step_rows(), *found.operation_rows()):
        assert f"| {' | '.join(row)} |" in text
    shares = [float(row[2].rstrip(" %")) for row in found.step_rows()[:3]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
