"""An ensemble as one Keras model: raw pixels in, the weighted mean of the members' probabilities out."""

from collections.abc import Sequence
from typing import Any

from ferlab.models.catalog import PROBABILITIES


def ensemble_model(members: Sequence[Any], weights: Sequence[float]) -> Any:
    """One model over ``members`` (same input shape and classes), built of Keras layers only.

    ``weights`` are not negative and sum to 1.
    """
    import keras

    image = keras.Input(members[0].input_shape[1:], dtype="uint8", name="image")
    weighted = []
    for position, (member, weight) in enumerate(zip(members, weights, strict=True)):
        copy = keras.models.clone_model(member)
        copy.set_weights(member.get_weights())
        copy.name = f"member{position}_{member.name}"
        answer = copy(image)
        if isinstance(answer, dict):  # valence and arousal of a second head are left out
            answer = answer[PROBABILITIES]
        weighted.append(keras.layers.Rescaling(float(weight), name=f"weight{position}")(answer))
    total = keras.layers.Add(name=PROBABILITIES)(weighted) if len(weighted) > 1 else weighted[0]
    return keras.Model(image, total, name="ensemble")
