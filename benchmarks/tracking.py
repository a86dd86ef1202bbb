"""What tracking costs a training: one `ferlab train` with a clock around everything that MLflow and figures do.

    python benchmarks/tracking.py --out FILE [--home DIR] OVERRIDE...

Counted: opening the store (MLflow's import included) and the run, every call of `ferlab.tracking.run.Run`, every
figure, Grad-CAM for the figure of mistakes, ending the run, and the thread that samples the machine. FILE gets, in
seconds, `fixed_s` of the run (in `parts` by what was called), `epoch_s` of an epoch, and `sampling_share` of a core.
`make bench-training` reads it.
"""

import argparse
import contextlib
import functools
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EPOCH = "epoch"
FIGURES = ("augmented_figure", "confusion_figure", "curves_figure", "per_class_figure", "mistakes_picture")
"""In the room of training's record; the last one asks Grad-CAM."""


class Clock:
    """Seconds spent in watched calls; calls within watched calls are not counted again."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.epochs: set[int] = set()
        self.inside = False

    @contextlib.contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Count the block as ``what``."""
        if self.inside:
            yield
            return
        self.inside, started = True, time.perf_counter()
        try:
            yield
        finally:
            self.inside = False
            self.spent[what] += time.perf_counter() - started

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, its calls counted; those that name a step are an epoch's."""

        @functools.wraps(work)
        def timed(*given: Any, **named: Any) -> Any:
            step = named.get("step", given[2] if work.__name__ == "log_metrics" and len(given) > 2 else None)
            if step is not None:
                self.epochs.add(step)
            with self.running(work.__name__ if step is None else EPOCH):
                return work(*given, **named)

        return timed


def watch(clock: Clock, sampling: dict[str, float]) -> None:
    """Put the clock around all that is counted; ``sampling`` gets wall and core seconds of the sampling thread."""
    with clock.running("import"):
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    from ferlab.commands import launch, training_record
    from ferlab.tracking.run import Run
    from ferlab.tracking.store import Store

    for name, member in vars(Run).items():
        if callable(member) and not name.startswith("_"):
            setattr(Run, name, clock.around(member))
    for name in FIGURES:
        setattr(training_record, name, clock.around(getattr(training_record, name)))
    launch.connect = clock.around(launch.connect)
    original, monitor = Store.run, SystemMetricsMonitor.monitor

    @contextlib.contextmanager
    def run(self: Store, *given: Any, **named: Any) -> Iterator[Run]:
        opened = original(self, *given, **named)
        with clock.running("start"):
            active = opened.__enter__()
        yield active
        with clock.running("end"):
            opened.__exit__(None, None, None)

    def sampled(self: SystemMetricsMonitor) -> None:
        wall, core = time.perf_counter(), time.thread_time()
        monitor(self)
        sampling["wall_s"] = time.perf_counter() - wall
        sampling["core_s"] = time.thread_time() - core

    Store.run, SystemMetricsMonitor.monitor = run, sampled  # type: ignore[method-assign]


def main() -> None:
    """Train, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="FERLAB_HOME, a temporary one otherwise")
    options, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FERLAB_HOME"] = str(options.home or scratch)
        clock, sampling = Clock(), dict[str, float]()
        watch(clock, sampling)
        from ferlab.cli import main as ferlab

        started = time.perf_counter()
        try:
            ferlab(["train", *overrides])
        except SystemExit as done:
            if done.code:
                raise
        epochs_s = clock.spent.pop(EPOCH)
        result = {
            "fixed_s": sum(clock.spent.values()),
            "parts": dict(clock.spent),
            "epoch_s": epochs_s / len(clock.epochs),
            "sampling_share": sampling["core_s"] / sampling["wall_s"],
            "command_s": time.perf_counter() - started,
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
