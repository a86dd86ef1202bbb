"""Temperature scaling: one number that makes a model's probabilities softer or sharper and changes no answer."""

import numpy as np

from ferlab.scoring.views import SMALLEST_PROBABILITY

COLDEST, HOTTEST = 0.01, 100.0
TOLERANCE = 1e-6
"""Of the search, in log T."""


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The T in COLDEST..HOTTEST that minimises the mean negative log-likelihood of ``tempered`` (Guo et al. 2017).

    ``probabilities`` (n, k), ``labels`` (n,). The likelihood has one optimum in T. It lies on a bound where there is
    none between: COLDEST when every answer is right (all the more when they are certain), HOTTEST when labels and
    probabilities have nothing in common. Where all classes are equally probable T changes nothing, and is 1.

    Raises:
        ValueError: no samples, or shapes that do not belong together.

    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    if probabilities.ndim != 2 or not len(labels) or labels.shape != probabilities.shape[:1]:
        message = f"probabilities {probabilities.shape} and labels {labels.shape} do not make samples"
        raise ValueError(message)
    logarithms = _logarithms(probabilities)
    margins = logarithms - logarithms[np.arange(len(labels)), labels][:, None]
    if not margins.any():
        return 1.0

    def loss(temperature: float) -> float:
        return float(logsumexp(margins / temperature, axis=1).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(
        lambda log_temperature: loss(np.exp(log_temperature)),
        bounds=bounds,
        method="bounded",
        options={"xatol": TOLERANCE},
    )
    # the search ends near a bound, never on it, and stops anywhere on a plain
    return min((COLDEST, HOTTEST, float(np.exp(found.x))), key=loss)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of the log probabilities (n, k) divided by ``temperature`` > 0: the softmax of the logits so divided.

    Above 1 probabilities are softer, below 1 sharper. A probability of 0 counts as SMALLEST_PROBABILITY.
    """
    from scipy.special import softmax

    return np.asarray(softmax(_logarithms(probabilities) / temperature, axis=1))


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY, dtype=np.float64))
