"""Time of the statistics: intervals of one large set, and many runs tested against a baseline, read from their files.

    python benchmarks/evaluation.py [--rounds 3]

All metrics with intervals of 10,000 resamples on 45,000 images of eight classes; reading 200 runs of 3,589 images from
Parquet and testing each against one more (exact McNemar, paired bootstrap of 2,000 resamples, Holm). Answers are drawn:
runs agree with one another as much as networks of one kind do. Medians of the rounds. Bars: ..._BAR_S. Exit code 1 when
one is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ferlab.emotions import TAXONOMIES
from ferlab.evaluation.metrics import score
from ferlab.evaluation.significance import holm, mcnemar, paired_differences
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


def tested(baseline: Path, others: list[Path]) -> int:
    """Read all, test each of ``others`` against the baseline; how many differ from it at .05."""
    reference = Predictions.load(baseline).ordered_by_id()
    labels, answers, p_values = reference.labels, reference.predicted, []
    for path in others:
        predicted = Predictions.load(path).ordered_by_id().predicted
        p_values.append(mcnemar(answers == labels, predicted == labels).p_value)
        paired_differences(labels, answers, predicted, len(reference.classes), RESAMPLES, 0)
    return int((holm(p_values) <= 0.05).sum())


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
        )
    ]
    with tempfile.TemporaryDirectory(prefix="ferlab-evaluation-") as folder:
        paths = [Path(folder) / f"{seed}.parquet" for seed in range(RUNS + 1)]
        for seed, path in enumerate(paths):
            drawn("fer2013", IMAGES, seed).save(path)
        seconds = median_s(lambda: tested(paths[0], paths[1:]), rounds)
    rows.append((f"{RUNS} runs x {IMAGES:,} read and tested", seconds, RUNS_BAR_S))
    print(f"{'':<40}{'median':>10}{'bar':>10}")
    for name, seconds, bar in rows:
        print(f"{name:<40}{seconds:>8.1f} s{f'<= {bar} s':>10}  {'holds' if seconds <= bar else 'MISSED'}")
    missed = [name for name, seconds, bar in rows if seconds > bar]
    sys.exit(f"missed: {', '.join(missed)}" if missed else None)


if __name__ == "__main__":
    main()
