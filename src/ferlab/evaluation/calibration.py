"""Calibration before and after temperature scaling, the temperature fitted on validation."""

from dataclasses import dataclass, replace

from ferlab.errors import UserError
from ferlab.evaluation.probability import ProbabilityScores, probability_scores
from ferlab.predictions import Predictions
from ferlab.scoring.temperature import fit_temperature, tempered


@dataclass(frozen=True)
class Calibration:
    """The temperature, the scores before and after it, and the predictions after it."""

    temperature: float
    before: ProbabilityScores
    after: ProbabilityScores
    predictions: Predictions


def calibrate(validation: Predictions, predictions: Predictions) -> Calibration:
    """Fit the temperature on ``validation``, which must be other samples than ``predictions``, and apply it to these.

    Raises:
        UserError: the two have other classes or the same split.

    """
    if validation.classes != predictions.classes or validation.split == predictions.split:
        message = (
            f"calibration of run {predictions.run_id} on {predictions.split}: the temperature must be fitted on "
            f"another split with the same classes, got {validation.split} with {', '.join(validation.classes)}."
        )
        raise UserError(message)
    temperature = fit_temperature(validation.probabilities, validation.labels)
    calibrated = replace(predictions, probabilities=tempered(predictions.probabilities, temperature))
    return Calibration(temperature, probability_scores(predictions), probability_scores(calibrated), calibrated)
