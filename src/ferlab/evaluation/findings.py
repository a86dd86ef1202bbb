"""All that an evaluation finds out about one set of predictions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ferlab.evaluation.calibration import Calibration, calibrate
from ferlab.evaluation.metrics import Estimate, Scores, score
from ferlab.evaluation.probability import ProbabilityScores, probability_scores
from ferlab.evaluation.probability_intervals import probability_estimates
from ferlab.evaluation.significance import Spread, mean_and_spread
from ferlab.evaluation.soft import vote_estimates
from ferlab.predictions import Predictions

PREFIXES = {"validation": "val", "test": "test"}
"""How the metrics of a split begin."""


@dataclass(frozen=True)
class Augmented:
    """Predictions made of ``n_views`` views of every image; ``name`` says which."""

    name: str
    n_views: int
    predictions: Predictions


@dataclass(frozen=True)
class Findings:
    """What was found; None where there is nothing to find it from.

    ``probability``: scores of the probabilities (a tool may give labels only), ``estimates`` the same with intervals.
    ``calibration``: before and after a temperature that was fitted on validation, ``calibrated_estimates``: after it,
    with intervals in which the temperature is given. ``twin_free``: without images whose pixels were also trained on.
    ``augmented`` with ``augmented_scores``: with test-time augmentation. ``soft``: against the annotators' votes.
    ``seeds``: headline measures over this run and its repetitions under other seeds.
    """

    predictions: Predictions
    scores: Scores
    probability: ProbabilityScores | None
    estimates: dict[str, Estimate]
    calibration: Calibration | None
    calibrated_estimates: dict[str, Estimate]
    twin_free: Scores | None
    augmented: Augmented | None
    augmented_scores: Scores | None
    soft: dict[str, Estimate]
    seeds: dict[str, Spread] | None

    @property
    def only_twins(self) -> bool:
        """Whether the pixels of every image were also trained on, so that none is left for ``twin_free``."""
        return self.predictions.twins is not None and bool(self.predictions.twins.all())

    def flat(self) -> Iterator[tuple[str, float]]:
        """Every number as an MLflow metric, named by the split: ``test_accuracy``, ``test_twin_free_macro_f1``."""
        split = PREFIXES[self.predictions.split]
        yield from self.scores.flat(split).items()
        for scores, name in ((self.twin_free, "twin_free"), (self.augmented_scores, "tta")):
            if scores is not None:
                yield from scores.flat(f"{split}_{name}").items()
        if self.probability is not None:
            yield from _named(split, self.probability.values())
        yield from _ends(split, self.estimates)
        yield from _ends(f"{split}_calibrated", self.calibrated_estimates)
        for name, spread in (self.seeds or {}).items():
            yield f"{split}_{name}_mean_over_seeds", spread.mean
            if spread.std is not None:
                yield f"{split}_{name}_std_over_seeds", spread.std
        if self.calibration is not None:
            yield f"{split}_temperature", self.calibration.temperature
            yield from _named(f"{split}_calibrated", self.calibration.after.values())
        yield from _named(split, {name: item.value for name, item in self.soft.items()})
        yield from _ends(split, self.soft)


def find(
    predictions: Predictions,
    resamples: int,
    seed: int,
    validation: Predictions | None = None,
    augmented: Augmented | None = None,
    other_seeds: Sequence[Mapping[str, float]] = (),
) -> Findings:
    """Score ``predictions`` in every way that they allow.

    ``validation`` is what the temperature is fitted on, ``other_seeds`` the headline measures of the repetitions.
    """
    twins = 0 if predictions.twins is None else int(predictions.twins.sum())
    scores = score(predictions, resamples, seed)
    calibration = None if predictions.hard or validation is None else calibrate(validation, predictions)
    own = {name: item.value for name, item in scores.estimates.items()}
    return Findings(
        predictions,
        scores,
        None if predictions.hard else probability_scores(predictions),
        {} if predictions.hard else probability_estimates(predictions, resamples, seed),
        calibration,
        {} if calibration is None else probability_estimates(calibration.predictions, resamples, seed),
        score(predictions.twin_free(), resamples, seed) if 0 < twins < len(predictions) else None,
        augmented,
        score(augmented.predictions, resamples, seed) if augmented else None,
        {}
        if predictions.hard or predictions.votes is None
        else vote_estimates(predictions.probabilities, predictions.votes, resamples, seed),
        {name: mean_and_spread([value, *(one[name] for one in other_seeds)]) for name, value in own.items()}
        if other_seeds
        else None,
    )


def _ends(prefix: str, estimates: Mapping[str, Estimate]) -> Iterator[tuple[str, float]]:
    for name, item in estimates.items():
        yield f"{prefix}_{name}_low", item.low
        yield f"{prefix}_{name}_high", item.high


def _named(prefix: str, values: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    return ((f"{prefix}_{name}", value) for name, value in values.items() if value is not None)
