"""Time of the statistics: intervals of one large set, and many runs tested against a baseline, read from their files.

    python benchmarks/evaluation.py [--rounds 3]

Metrics with intervals of 10,000 resamples on 45,000 images of eight classes: those of the confusion matrix, and NLL and
Brier score, which are drawn loss by loss. `ferlab compare` over a study of 200 runs of 3,589 images: the whole command,
with files, intervals, tests (exact McNemar, paired bootstrap of 2,000 resamples, Holm), figures and report. Answers are
drawn: runs agree with one another as much as networks of one kind do. Medians of the rounds. Bars: ..._BAR_S. Exit code
1 when one is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ferlab.commands.compare import run as compare
from ferlab.commands.launch import Context
from ferlab.config.nodes import Intervals
from ferlab.config.schema import CompareConfig
from ferlab.emotions import TAXONOMIES
from ferlab.evaluation.metrics import score
from ferlab.evaluation.probability_intervals import probability_estimates
from ferlab.predictions import Predictions

SCORE_BAR_S, RUNS_BAR_S = 5, 20
LARGE_IMAGES, LARGE_RESAMPLES = 45_000, 10_000
RUNS, IMAGES, RESAMPLES = 200, 3589, 2000
RIGHT, OWN = 0.65, 0.3
"""Share of images that runs get right together, and share on which each has an answer of its own."""


def drawn(taxonomy: str, images: int, seed: int) -> Predictions:
    """Answers of one run; labels and what all runs have in common are the same for every seed."""
    classes = TAXONOMIES[taxonomy].classes
    common, own = np.random.default_rng(0), np.random.default_rng(seed + 1)
    labels, guesses = common.integers(0, len(classes), (2, images))
    shared = np.where(common.random(images) < RIGHT, labels, guesses)
    answers = np.where(own.random(images) < OWN, own.integers(0, len(classes), images), shared)
    logits = own.normal(size=(images, len(classes))) + 4 * np.eye(len(classes))[answers]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        ids=tuple(f"{place:05d}" for place in range(images)),
        labels=labels,
        probabilities=probabilities,
        classes=classes,
        split="test",
        taxonomy=taxonomy,
        protocol=f"{taxonomy}/drawn",
        dataset_digest="0" * 64,
        run_id=f"{seed:032x}",
    )


def recorded(home: Path) -> Context:
    """A store with RUNS trainings and their stored answers, as ``ferlab compare study=many`` finds it."""
    context = Context("compare", home, {})
    for seed in range(RUNS):
        with context.store.run("train", "many", f"network{seed}-s0") as run:
            run.log_config({"backbone": {"name": f"network{seed}"}, "seed": 0})
            predictions = replace(drawn("fer2013", IMAGES, seed), split="validation", run_id=run.id)
            run.log_saved(predictions.save, "validation.parquet", "predictions")
    return context


def compared(context: Context) -> None:
    """The whole command: files, intervals, tests, figures, report, its own run."""
    compare(CompareConfig("many", [], "validation", None, Intervals(RESAMPLES, 0)), context)


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Seconds that the work takes."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    large = drawn("affectnet8", LARGE_IMAGES, 0)
    score(large, 10, 0)  # imports
    rows = [
        (
            f"{LARGE_RESAMPLES:,} resamples of {LARGE_IMAGES:,} x 8",
            median_s(lambda: score(large, LARGE_RESAMPLES, 0), rounds),
            SCORE_BAR_S,
        ),
        (
            "  the same of the probabilities' scores",
            median_s(lambda: probability_estimates(large, LARGE_RESAMPLES, 0), rounds),
            SCORE_BAR_S,
        ),
    ]
    with tempfile.TemporaryDirectory(prefix="ferlab-evaluation-") as folder:
        context = recorded(Path(folder))
        context.terminal.console.quiet = True
        seconds = median_s(lambda: compared(context), rounds)
    rows.append((f"{RUNS} runs x {IMAGES:,} compared by the command", seconds, RUNS_BAR_S))
    print(f"{'':<40}{'median':>10}{'bar':>10}")
    for name, seconds, bar in rows:
        print(f"{name:<40}{seconds:>8.1f} s{f'<= {bar} s':>10}  {'holds' if seconds <= bar else 'MISSED'}")
    missed = [name for name, seconds, bar in rows if seconds > bar]
    sys.exit(f"missed: {', '.join(missed)}" if missed else None)


if __name__ == "__main__":
    main()
