"""Where the time of a training step goes: parts timed one by one, operations from a trace of the same steps."""

import math
import os
import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.training.distribution import fed, predicted
from ferlab.training.inputs import Batch, TrainingData
from ferlab.training.phases import FitSpec, Stage, stage_of
from ferlab.training.trace import OperationCost, costliest, read_trace, recording, trace_file, write_for_browser

TRACE, BROWSER_TRACE = "trace.xplane.pb", "trace.json.gz"
FORWARD_PASSES = 5
ROUNDS = 2
"""Fits on new batches and on a ready one take turns, so what else the machine does meets both."""


@dataclass(frozen=True)
class Profile:
    """A step of the recipe's costliest phase; all ``_ms`` are of one batch of ``batch_size`` images.

    ``step_ms`` is a step in ``fit``, and the sum of ``waiting_ms``, ``forward_ms`` and ``learning_ms``. ``waiting_ms``
    is how much faster it is on one batch that is always ready: on a CPU that holds the cores which making batches
    takes, too. ``making_thread_ms`` is the time of one core for a batch, ``making_ms`` the time between two batches
    when all threads make them and nothing else runs. ``before_s`` passed before the first step: features, compiling.
    """

    phase: str
    batch_size: int
    steps: int
    before_s: float
    making_thread_ms: float
    making_ms: float
    step_ms: float
    waiting_ms: float
    forward_ms: float
    learning_ms: float
    operations: tuple[OperationCost, ...]

    @property
    def images_per_s(self) -> float:
        """Images a second in ``fit``, validation left out."""
        return 1000 * self.batch_size / self.step_ms

    def metrics(self) -> dict[str, float]:
        """Every number by its name, the operations left out."""
        numbers = {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}
        return numbers | {"images_per_s": self.images_per_s}

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self) | {"images_per_s": self.images_per_s}

    def title(self) -> str:
        """One line: which step, how long, how fast."""
        return (
            f"A step of phase {self.phase}: {self.batch_size} images in {self.step_ms:.1f} ms, "
            f"{self.images_per_s:,.0f} img/s (over {self.steps} steps)"
        )

    def step_rows(self) -> list[list[str]]:
        """Parts of a step: name, milliseconds, share; below them what making a batch takes, for which nobody waits."""
        parts = {
            "waiting for input": self.waiting_ms,
            "forward": self.forward_ms,
            "backward and update": self.learning_ms,
        }
        rows = [[name, f"{spent:.2f}", f"{100 * spent / self.step_ms:.1f} %"] for name, spent in parts.items()]
        rows.append(["(making a batch, in one thread)", f"{self.making_thread_ms:.2f}", ""])
        rows.append(["(making a batch, all threads)", f"{self.making_ms:.2f}", ""])
        rows.append(["(before the first step)", f"{1000 * self.before_s:.0f}", ""])
        return rows

    def operation_rows(self) -> list[list[str]]:
        """The costliest kinds of operations: name, milliseconds and calls in the trace, share of all operations."""
        return [
            [cost.kind, f"{cost.total_ms:.2f}", str(cost.calls), f"{100 * cost.share:.1f} %"]
            for cost in self.operations
        ]


STEP_COLUMNS = ("where", "ms", "share")
OPERATION_COLUMNS = ("operation", "ms", "calls", "share")


def profiled(model: Any, data: TrainingData, spec: FitSpec, steps: int, folder: Path) -> Profile:
    """Train the longest phase of ``spec`` (one of the base, if any) for about ``steps`` steps after a warm-up.

    Steps come in whole groups.
    ``folder``, which must exist, gets the profiler's own trace and one for a browser (TRACE, BROWSER_TRACE). ``model``
    is not worth keeping afterwards: it has learned one batch by heart.

    Raises:
        UserError: the batch is larger than the training split, or another profiler runs in this process.

    """
    started = time.perf_counter()
    # a head on cached features is a matter of seconds; the longest phase is what a training costs
    phases = range(len(spec.recipe.phases))
    phase = spec.phase(
        max(phases, key=lambda index: (not spec.recipe.phases[index].head_only, spec.recipe.phases[index].epochs))
    )
    stage = stage_of(model, data, spec, phase, folder / "features")
    group = stage.trainee.steps_per_execution
    groups = math.ceil(steps / (group * ROUNDS))
    batch = next(_batches(stage))
    streamed, ready = _Timed(group), _Timed(group)
    for _ in range(ROUNDS):
        streamed.add(stage, lambda: _batches(stage), groups)
        ready.add(stage, lambda: _repeated(batch), groups)
    step_ms = streamed.step_ms
    computing_ms = min(step_ms, ready.step_ms)
    forward_ms = min(computing_ms, _forward_ms(stage.network, batch[0]))
    making_thread_ms, making_ms = _making(stage, max(steps, group))
    with recording(folder / "profiler"):
        _Timed(group).add(stage, lambda: _batches(stage), 0)
    return Profile(
        phase=phase.name,
        batch_size=stage.batches.spec.batch_size,
        steps=ROUNDS * groups * group,
        before_s=streamed.first - started,
        making_thread_ms=making_thread_ms,
        making_ms=making_ms,
        step_ms=step_ms,
        waiting_ms=step_ms - computing_ms,
        forward_ms=forward_ms,
        learning_ms=computing_ms - forward_ms,
        operations=tuple(_operations(folder)),
    )


def markdown(profile: Profile) -> str:
    """Both tables as text."""
    tables = [
        (profile.title(), STEP_COLUMNS, profile.step_rows()),
        ("Costliest operations of the trace", OPERATION_COLUMNS, profile.operation_rows()),
    ]
    lines: list[str] = []
    for title, columns, rows in tables:
        marks = ["---", *("---:" for _ in columns[1:])]
        lines += [title, "", *(f"| {' | '.join(row)} |" for row in (columns, marks, *rows)), ""]
    return "\n".join(lines)


class _Timed:
    """How long groups of ``group`` steps took in ``fit``; the first group of each fit warms up and is not counted."""

    def __init__(self, group: int) -> None:
        self.group, self.first, self.seconds = group, math.inf, list[float]()

    def add(self, stage: Stage, batches: Callable[[], Generator[Batch, None, None]], groups: int) -> None:
        """Train for a group of steps that warms up and ``groups`` more; ``first``: when the first warm-up was over."""
        ends: list[float] = []
        steps = self.group * (1 + groups)
        stage.trainee.fit(fed(batches), steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[_after_steps(ends)])
        self.first = min(self.first, ends[0])
        self.seconds += np.diff(ends).tolist()

    @property
    def step_ms(self) -> float:
        """Milliseconds of a step, the median over groups."""
        return 1000 * statistics.median(self.seconds) / self.group


def _after_steps(ends: list[float]) -> Any:
    """Keras's callback that notes when each group of steps was over."""
    import keras

    class AfterSteps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(logs["loss"])  # a GPU, or JAX, answers before it has finished
            ends.append(time.perf_counter())

    return AfterSteps()


def _batches(stage: Stage) -> Generator[Batch, None, None]:
    """One epoch after the other."""
    for epoch in count():
        yield from stage.batches.epoch(epoch, stage.change)


def _repeated(batch: Batch) -> Generator[Batch, None, None]:
    while True:
        yield batch


def _forward_ms(network: Any, inputs: np.ndarray) -> float:
    predicted(network, inputs)
    seconds = []
    for _ in range(FORWARD_PASSES):
        started = time.perf_counter()
        predicted(network, inputs)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def _making(stage: Stage, number: int) -> tuple[float, float]:
    """Milliseconds of one core for a batch, and between two batches when nothing else runs."""
    batches = _batches(stage)
    # only once all threads are at work, as many batches are begun as are taken
    for _ in islice(batches, 4 * (os.cpu_count() or 1)):
        pass
    started, cores_s = time.perf_counter(), time.process_time()
    for _ in islice(batches, number):
        pass
    spent, cores_s = time.perf_counter() - started, time.process_time() - cores_s
    batches.close()
    return 1000 * cores_s / number, 1000 * spent / number


def _operations(folder: Path) -> list[OperationCost]:
    """The costliest operations; the trace is put in its place, for TensorBoard and for a browser."""
    recorded = trace_file(folder / "profiler")
    events = read_trace(recorded)
    write_for_browser(events, folder / BROWSER_TRACE)
    recorded.replace(folder / TRACE)
    return costliest(events)
