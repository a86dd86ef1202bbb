"""What pruning saves, what a second worker gains, what a job costs beside its training: on real sweeps of `seq1`.

    python benchmarks/sweeps.py [--fer2013 DIR] [--trials 24] [--replays 200] [--keep FOLDER]

Twenty-four random trials of rate, batch size, augmentation and smoothing on 1,500 faces (of FER-2013 where DIR holds
fer2013.csv, drawn ones otherwise), at most six epochs each. Every sweep is the real command:

- one worker that is held to one core, nothing pruned: every trial's whole curve;
- two workers with one core each, the same trials: how much faster;
- one worker, the median pruner, the same trials: share of the epochs, and the best validation accuracy;
- one worker with all cores, eight trials: what a job takes beside its epochs (the first job, which starts the worker,
  is left out).

Pruning depends on which trials come first: it is also replayed on the recorded curves in other orders. Exit code 1 when
a bar is missed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from mlflow.tracking import MlflowClient

from ferlab.config.files import config_root
from ferlab.config.nodes import Sweep
from ferlab.errors import Pruned
from ferlab.sweeping.children import FINISHED, Child, children_of
from ferlab.sweeping.study import open_study
from ferlab.sweeping.trial import StudyTrial
from ferlab.tracking.records import runs_with_tag
from ferlab.tracking.store import connect

EPOCHS_BAR, POINTS_BAR, SPEEDUP_BAR, OVERHEAD_BAR_S = 0.60, 1.0, 1.6, 3.0
IMAGES, REPORTED, TIMED_TRIALS = 1500, 150, 8
PRUNING = Sweep(**yaml.safe_load((config_root() / "experiments" / "seq1_search.yaml").read_text())["sweep"])

MULTIPLY = """
import time
import numpy as np
matrix, done, end = np.random.default_rng(0).random((512, 512), np.float32), 0, time.monotonic() + 8
while time.monotonic() < end:
    matrix @ matrix
    done += 1
print(done)
"""


@dataclass(frozen=True)
class Swept:
    """A finished sweep: its jobs in their order, and the seconds of the whole command."""

    children: list[Child]
    seconds: float

    @property
    def epochs(self) -> int:
        return sum(int(child.metrics["epochs"]) for child in self.children)

    @property
    def best(self) -> float:
        return max(child.metrics["val_accuracy"] for child in self.children if child.status == FINISHED)


def faces(work: Path, fer2013: Path | None) -> list[str]:
    """Overrides that choose 1,500 faces to train and select on."""
    if fer2013 is None:
        return ["dataset=synthetic", f"dataset.synthesize.count={IMAGES * 10 // 8}"]
    lines = (fer2013 / "fer2013.csv").read_text().splitlines()
    training = [line for line in lines if line.endswith("Training")]
    reported = [line for line in lines if line.endswith("PublicTest")]
    chosen = np.random.default_rng(0).choice(len(training), IMAGES, replace=False)
    kept = [lines[0], *(training[row] for row in sorted(chosen)), *reported[:REPORTED]]
    (work / "faces").mkdir()
    (work / "faces" / "fer2013.csv").write_text("\n".join(kept) + "\n")
    return [f"dataset.root={work / 'faces'}", "dataset.accept_alarms=true"]


def swept(
    work: Path, name: str, data: list[str], trials: int, workers: int = 1, cores: int = 1, pruner: str = "none"
) -> Swept:
    """Carry a sweep out as a person would; ``cores`` of each worker, 0 for all. More workers share all cores evenly."""
    command = [
        *(sys.executable, "-m", "ferlab", "train", "-m", "experiments=seq1_search", *data, f"sweep.name={name}"),
        *("dataset.val_fraction=0.3", f"compute.cores={cores}", f"hydra.launcher.n_jobs={workers}"),
        *(f"sweep.trials={trials}", f"sweep.pruner={pruner}"),
    ]
    held = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))] if workers == cores == 1 else []
    environment = {**os.environ, "FERLAB_HOME": str(work / "home")}
    started = time.monotonic()
    subprocess.run([*held, *command], env=environment, check=True, stdout=sys.stderr)
    seconds = time.monotonic() - started
    (parent,) = (one for one in runs_with_tag("mlflow.runName", name) if one.stage == "sweep")
    return Swept(children_of(parent.id), seconds)


def replayed(work: Path, curves: list[list[float]], seed: int) -> tuple[int, float]:
    """Epochs and best outcome when the trials come in another order, judged by the same pruner."""
    place, name = str(work / "replays" / f"{seed}.journal"), str(seed)
    study = open_study(name, place, PRUNING, fresh=True)
    epochs, best = 0, 0.0
    for values in np.random.default_rng(seed).permutation(np.array(curves)):
        trial = StudyTrial(name, place, PRUNING, study.ask().number)
        try:
            for epoch, value in enumerate(np.maximum.accumulate(values), start=1):
                epochs += 1
                trial.report(epoch, float(value))
            trial.tell([float(values.max())])
            best = max(best, float(values.max()))
        except Pruned:
            trial.give_up(failed=False)
    Path(place).unlink()
    return epochs, best


def curve(run_id: str, metric: str) -> list[float]:
    """A metric of every epoch."""
    return [one.value for one in MlflowClient().get_metric_history(run_id, metric)]


def overhead_s(children: list[Child]) -> float:
    """Seconds a job takes beside its epochs, from the end of the first job, which started the worker, to the last's."""
    first, last = (MlflowClient().get_run(child.run_id).info.end_time / 1000 for child in (children[0], children[-1]))
    epochs = sum(sum(curve(child.run_id, "epoch/seconds")) for child in children[1:])
    return (last - first - epochs) / (len(children) - 1)


def worth_of_two_cores() -> float:
    """How much more two processes that share nothing get done than one: no sweep can gain more here."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

    def done(processes: int) -> int:
        begun = [
            subprocess.Popen([sys.executable, "-c", MULTIPLY], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        return sum(int(one.communicate()[0]) for one in begun)

    alone = done(1)
    return done(2) / alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer2013", type=Path)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="a folder that does not exist yet, for faces and runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.keep or Path(scratch)
        work.mkdir(exist_ok=True)
        connect(work / "home", config_root())
        data = faces(work, options.fer2013)
        worth = worth_of_two_cores()
        swept(work, "warm-up", data, 1)  # prepares
        whole = swept(work, "whole", data, options.trials)
        twice = swept(work, "two-workers", data, options.trials, workers=2)
        pruned = swept(work, "pruned", data, options.trials, pruner="median")
        timed = swept(work, "all-cores", data, TIMED_TRIALS, cores=0)
        curves = [curve(child.run_id, "epoch/val_accuracy") for child in whole.children]
        replays = [replayed(work, curves, seed) for seed in range(options.replays)]
        beside = overhead_s(timed.children)
    faster = whole.seconds / twice.seconds
    shares = [epochs / whole.epochs for epochs, _ in replays]
    losses = [100 * (whole.best - best) for _, best in replays]
    held = {
        f"epochs with the median pruner, share of {whole.epochs}: {pruned.epochs / whole.epochs:.2f}": (
            pruned.epochs / whole.epochs <= EPOCHS_BAR
        ),
        f"best validation accuracy {100 * whole.best:.1f} without, {100 * pruned.best:.1f} with pruning": (
            100 * (whole.best - pruned.best) <= POINTS_BAR
        ),
        f"replayed in {len(replays)} orders: median share {statistics.median(shares):.2f}, "
        f"{np.quantile(shares, 0.05):.2f} to {np.quantile(shares, 0.95):.2f}": statistics.median(shares) <= EPOCHS_BAR,
        f"... within {POINTS_BAR:g} point of the best in {np.mean(np.array(losses) <= POINTS_BAR):.0%} of them": (
            float(np.mean(np.array(losses) <= POINTS_BAR)) >= 0.9
        ),
        f"two workers with one core each: {whole.seconds:.0f} s to {twice.seconds:.0f} s, {faster:.2f} times": (
            faster >= SPEEDUP_BAR
        ),
        f"a job beside its epochs: {beside:.1f} s": beside <= OVERHEAD_BAR_S,
    }
    for line, holds in held.items():
        print(f"{'holds ' if holds else 'MISSED'}  {line}")
    print(f"        two processes that share nothing do {worth:.2f} times the work of one on this machine")
    sys.exit(not all(held.values()))


if __name__ == "__main__":
    main()
