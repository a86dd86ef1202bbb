"""Averages of weights: over the last epochs (stochastic weight averaging), or the optimizer's moving average."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COUNT, MEAN = "count", "mean"


class Average:
    """Equal-weight mean of the weights of several epochs (Izmailov et al. 2018).

    BatchNormalization's moving averages are averaged with the rest; the paper instead passes over the data once more
    to compute them for the averaged weights.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: list[np.ndarray] = []

    def add(self, weights: Sequence[np.ndarray]) -> None:
        """Take in the weights of one more epoch, in the order of ``model.get_weights()``."""
        self.count += 1
        if self.count == 1:
            self._mean = [np.array(array, np.float64) for array in weights]
            return
        for mean, array in zip(self._mean, weights, strict=True):
            mean += (array - mean) / self.count

    def weights(self) -> list[np.ndarray]:
        """The mean so far, float32."""
        return [mean.astype(np.float32) for mean in self._mean]

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is needed to go on, for a file; empty before the first ``add``."""
        if not self.count:
            return {}
        means = {f"{MEAN}{number:05d}": mean for number, mean in enumerate(self._mean)}
        return {COUNT: np.array(self.count), **means}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Average":
        """Go on with what ``arrays()`` gave."""
        average = cls()
        if arrays:
            average.count = int(arrays[COUNT])
            average._mean = [arrays[name] for name in sorted(arrays) if name != COUNT]
        return average


def averaged_weights(trainee: Any) -> list[np.ndarray]:
    """``trainee.get_weights()`` with the optimizer's moving averages in place of what it trains; nothing is changed.

    For use between epochs: on JAX the variables are empty while one runs. The optimizer must have been made with
    ``use_ema=True``; beware that Keras itself puts its averages into the model when ``fit`` ends.
    """
    optimizer = getattr(trainee.optimizer, "inner_optimizer", trainee.optimizer)  # LossScaleOptimizer holds another
    averages = {
        id(variable): average
        for variable, average in zip(
            optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
        )
    }
    return [np.array(averages.get(id(variable), variable)) for variable in trainee.weights]
