"""An ensemble as one Keras model: raw pixels in, the combination of the members' probabilities out."""

import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ferlab.models.catalog import PROBABILITIES

FLOOR = 1e-12
"""What a probability of 0 counts as where its logarithm is needed."""
ADMIXTURE = 1e-3
"""Share of the mean probability in the result of a vote: it decides ties, and no vote of fewer than 1,000 members."""


class Linear(Protocol):
    """A linear layer: ``coefficients`` (members * classes, classes), ``intercept`` (classes,)."""

    @property
    def coefficients(self) -> np.ndarray: ...  # noqa: D102
    @property
    def intercept(self) -> np.ndarray: ...  # noqa: D102


class Combined(Protocol):
    """What a model is built from; ``ensembling.combination.Combination`` has it and says what it means."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def weights(self) -> np.ndarray: ...  # noqa: D102
    @property
    def temperatures(self) -> np.ndarray: ...  # noqa: D102
    @property
    def stacking(self) -> Linear | None: ...  # noqa: D102


def ensemble_model(members: Sequence[Any], combination: Combined) -> Any:
    """One model over ``members`` (same input shape and classes), float32 probabilities, built of Keras only.

    Members that ``combination`` gives no weight are left out. Sums are written out, not multiplied as matrices: GPUs
    round those to 10 bits.

    Raises:
        ValueError: as many members as weights are needed.

    """
    import keras

    if len(members) != len(combination.weights):
        message = f"{len(members)} members and {len(combination.weights)} weights do not pair up"
        raise ValueError(message)
    used = [position for position, weights in enumerate(combination.weights) if weights.any()]
    if combination.stacking is not None:
        used = list(range(len(members)))
    image = keras.Input(members[0].input_shape[1:], dtype="uint8", name="image")
    answers = [_answer(members[position], position, image) for position in used]
    together = _Together(keras.ops.stack(answers, axis=1), combination, used)
    answer = keras.layers.Identity(dtype="float32", name=PROBABILITIES)(together.combined())
    return keras.Model(image, answer, name="ensemble")


def _answer(member: Any, position: int, image: Any) -> Any:
    """Float32 probabilities (n, classes) of a copy of ``member``."""
    import keras

    copy = keras.models.clone_model(member)
    copy.set_weights(member.get_weights())
    copy.name = f"member{position}_{member.name}"
    answer = copy(image)
    if isinstance(answer, dict):  # valence and arousal of a second head are left out
        answer = answer[PROBABILITIES]
    return keras.ops.cast(answer, "float32")


def members_inside(model: Any) -> dict[int, Any]:
    """The members that ``ensemble_model`` built into ``model``, by their place among the members that it was given."""
    found = ((re.match(r"member(\d+)_", operation.name), operation) for operation in model.operations)
    return {int(match[1]): operation for match, operation in found if match}


class _Together:
    """The arithmetic of ``Combination.apply`` in operations of Keras, over ``answers`` (n, members, classes)."""

    def __init__(self, answers: Any, combination: Combined, used: Sequence[int]) -> None:
        self.answers, self.combination = answers, combination
        self.weights = combination.weights[used].astype(np.float32)
        self.temperatures = combination.temperatures[used].astype(np.float32)[:, None]

    def combined(self) -> Any:
        """Probabilities (n, classes)."""
        from keras import ops

        if self.combination.stacking is not None:
            return self._stacked(self.combination.stacking)
        scaled = self.answers
        if (self.temperatures != 1).any():
            scaled = ops.softmax(_logarithm(scaled) / self.temperatures, axis=-1)
        if self.combination.method == "geometric":
            return ops.softmax(self._weighted(_logarithm(scaled)), axis=-1)
        mixture = self._weighted(scaled)
        if self.combination.method == "vote":
            # Keras's argmax looks at the bits of -0.0, for which LiteRT has no operation
            best = ops.top_k(scaled, 1)[1][..., 0]
            votes = ops.one_hot(best, self.weights.shape[1], dtype="float32")
            mixture = self._weighted(votes) * (1 - ADMIXTURE) + mixture * ADMIXTURE
        positive = ops.maximum(mixture, FLOOR)
        return positive / ops.sum(positive, axis=-1, keepdims=True)

    def _weighted(self, values: Any) -> Any:
        from keras import ops

        return ops.sum(values * self.weights, axis=1)

    def _stacked(self, linear: Linear) -> Any:
        from keras import ops

        members, classes = self.weights.shape
        coefficients = linear.coefficients.reshape(members, classes, classes).astype(np.float32)
        products = ops.expand_dims(_logarithm(self.answers), -1) * coefficients
        return ops.softmax(ops.sum(products, axis=(1, 2)) + linear.intercept.astype(np.float32), axis=-1)


def _logarithm(probabilities: Any) -> Any:
    from keras import ops

    return ops.log(ops.maximum(probabilities, FLOOR))
