"""Runs side by side: ranked in one block per protocol and data, each tested against a baseline on the same images."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.evaluation.metrics import HEADLINE, Scores, score
from ferlab.evaluation.significance import (
    McNemar,
    PairedDifference,
    Spread,
    differences,
    holm,
    mcnemar,
    mean_and_spread,
    resampled_headlines,
)
from ferlab.predictions import Predictions

BY = "accuracy"
"""What a block is ranked by."""


@dataclass(frozen=True)
class Costs:
    """What a run costs, None where it was not measured.

    ``images_per_s`` and ``minutes`` of its training, ``mflops`` of one image, ``size_mb`` of the model's file (10^6
    bytes), ``openings``: how often its test split was opened. ``latency_ms``: of one image alone, where it was
    evaluated.
    """

    parameters: float | None = None
    mflops: float | None = None
    images_per_s: float | None = None
    minutes: float | None = None
    size_mb: float | None = None
    openings: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Contestant:
    """A run to compare; ``group``: what it has in common with runs that differ in the ``seed`` alone."""

    id: str
    name: str
    group: str
    predictions: Predictions
    costs: Costs
    seed: str | None = None

    @property
    def label(self) -> str:
        """Its name, told apart from others of the same name."""
        return f"{self.name} {self.id[:6]}"


@dataclass(frozen=True)
class Against:
    """A run against the baseline: differences are run minus baseline.

    ``adjusted``: McNemar's p after Holm over the runs, ``adjusted_differences`` the bootstrap's of each measure.
    """

    mcnemar: McNemar
    differences: Mapping[str, PairedDifference]
    adjusted: float
    adjusted_differences: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """``differences`` and ``mcnemar`` with the documented keys of ``--json``."""
        gaps = {
            name: {**vars(gap), "p_holm": self.adjusted_differences[name]} for name, gap in self.differences.items()
        }
        return {"differences": gaps, "mcnemar": {**vars(self.mcnemar), "p_holm": self.adjusted}}

    def flat(self, prefix: str) -> dict[str, float]:
        """Numbers as MLflow metrics: ``<prefix>_difference_accuracy`` with ``_low``, ``_high``, ``_p`` and so on."""
        values = {
            f"{prefix}_mcnemar_p": self.mcnemar.p_value,
            f"{prefix}_only_baseline_right": float(self.mcnemar.only_first),
            f"{prefix}_only_run_right": float(self.mcnemar.only_second),
        }
        for name, gap in self.differences.items():
            ends = {"": gap.value, "_low": gap.low, "_high": gap.high, "_p": gap.p_value}
            values |= {f"{prefix}_difference_{name}{end}": value for end, value in ends.items()}
        return values


@dataclass(frozen=True)
class Ranked:
    """A run with its scores; ``against`` is None for the baseline itself."""

    run: Contestant
    scores: Scores
    against: Against | None


@dataclass(frozen=True)
class Seeds:
    """Runs that differ in their seed alone, one a seed: mean and sample standard deviation of each measure."""

    name: str
    group: str
    spread: Mapping[str, Spread]


@dataclass(frozen=True)
class Block:
    """Runs that may be ranked, the best first: same protocol, classes, data and samples.

    ``baseline_named``: the baseline was asked for; otherwise it is the best run, chosen by the numbers shown.
    """

    protocol: str
    taxonomy: str
    digest: str
    split: str
    n: int
    rows: tuple[Ranked, ...]
    seeds: tuple[Seeds, ...]
    baseline_named: bool

    @property
    def title(self) -> str:
        """What its runs have in common."""
        return f"{self.protocol}, {self.split} (n = {self.n:,}), data {self.digest[:8]}"

    @property
    def baseline(self) -> Ranked:
        """The run that the others are tested against."""
        return next(row for row in self.rows if row.against is None)

    @property
    def challenger(self) -> Ranked | None:
        """The best run that is not the baseline."""
        return next((row for row in self.rows if row.against is not None), None)


def compare(runs: Sequence[Contestant], baseline: str | None, resamples: int, seed: int) -> list[Block]:
    """Blocks of runs that may be ranked, the largest first; their predictions are in the order of the ids.

    ``baseline`` is a run's id; a block without it, or None, takes its best run: differences to that one are then those
    to a run chosen by the same numbers.

    Raises:
        UserError: the same run twice.

    """
    ids = [run.id for run in runs]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        message = f"runs: {twice} is named twice."
        raise UserError(message)
    together: dict[tuple[str, ...], list[Contestant]] = defaultdict(list)
    for run in runs:
        ordered = replace(run, predictions=run.predictions.ordered_by_id())
        together[_key(ordered.predictions)].append(ordered)
    blocks = [_block(members, baseline, resamples, seed) for members in together.values()]
    return sorted(blocks, key=lambda block: -len(block.rows))


def reasons(blocks: Sequence[Block]) -> list[str]:
    """Why the runs of each block but the first do not stand in the first one's ranking."""
    found = []
    for other in blocks[1:]:
        differing = [
            f"{what} {getattr(other, key)} and not {getattr(blocks[0], key)}"
            for what, key in (("protocol", "protocol"), ("taxonomy", "taxonomy"), ("dataset digest", "digest"))
            if getattr(other, key) != getattr(blocks[0], key)
        ]
        found.append(f"{other.title}: a ranking of its own, {'; '.join(differing) or 'other samples'}.")
    return found


def _key(kept: Predictions) -> tuple[str, ...]:
    samples = sha256("\n".join(kept.ids).encode() + kept.labels.astype(np.int64).tobytes()).hexdigest()
    return (kept.protocol, kept.taxonomy, ",".join(kept.classes), kept.dataset_digest, kept.split, samples)


def _block(runs: Sequence[Contestant], baseline: str | None, resamples: int, seed: int) -> Block:
    scored = [(run, score(run.predictions, resamples, seed)) for run in runs]
    seeds = _seeds(scored)
    scored.sort(key=lambda pair: (-pair[1].estimates[BY].value, pair[0].name, pair[0].id))
    chosen = next((run for run, _ in scored if run.id == baseline), scored[0][0])
    tests = _tests([run for run, _ in scored], chosen, resamples, seed)
    first = runs[0].predictions
    return Block(
        first.protocol,
        first.taxonomy,
        first.dataset_digest,
        first.split,
        len(first),
        tuple(Ranked(run, scores, tests.get(run.id)) for run, scores in scored),
        seeds,
        chosen.id == baseline,
    )


def _tests(runs: Sequence[Contestant], baseline: Contestant, resamples: int, seed: int) -> dict[str, Against]:
    labels, classes = baseline.predictions.labels, len(baseline.predictions.classes)
    others = [run for run in runs if run.id != baseline.id]
    first, *answers = (run.predictions.predicted for run in (baseline, *others))
    before, *drawn = resampled_headlines(labels, (first, *answers), classes, resamples, seed)
    found = [
        (mcnemar(first == labels, answer == labels), differences(before, after))
        for answer, after in zip(answers, drawn, strict=True)
    ]
    adjusted = holm([test.p_value for test, _ in found])
    by_measure = {name: holm([gaps[name].p_value for _, gaps in found]) for name in HEADLINE}
    return {
        run.id: Against(
            *found[place], float(adjusted[place]), {name: float(p[place]) for name, p in by_measure.items()}
        )
        for place, run in enumerate(others)
    }


def _seeds(scored: Sequence[tuple[Contestant, Scores]]) -> tuple[Seeds, ...]:
    """Groups with at least two seeds, the best first; of runs with the same seed, repetitions, the first one given."""
    groups: dict[str, dict[str | None, tuple[Contestant, Scores]]] = defaultdict(dict)
    for run, scores in scored:
        groups[run.group].setdefault(run.seed, (run, scores))
    found = [_spread(list(members.values())) for members in groups.values() if len(members) > 1]
    return tuple(sorted(found, key=lambda one: -one.spread[BY].mean))


def _spread(members: Sequence[tuple[Contestant, Scores]]) -> Seeds:
    measures = {name: [scores.estimates[name].value for _, scores in members] for name in HEADLINE}
    name = re.sub(r"-s\d+(?=-|$)", "", members[0][0].name)
    return Seeds(name, members[0][0].group, {measure: mean_and_spread(values) for measure, values in measures.items()})


def recall_differences(block: Block) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the runs beside the baseline, and their recall of each class minus its: (runs, classes)."""
    base = np.array([row.recall for row in block.baseline.scores.per_class])
    others = [row for row in block.rows if row.against is not None]
    table = np.array([[one.recall for one in row.scores.per_class] for row in others]).reshape(-1, len(base))
    return tuple(row.run.label for row in others), table - base
