"""``seq1`` and ``seq2``: small sequential CNNs for 48 px faces, made to train fast on a CPU."""

from typing import Any


def seq1(shape: tuple[int, int, int], width: float) -> Any:
    """Placeholder until measured design arrives"""
    import keras

    L = keras.layers
    layers = [keras.Input(shape)]
    for i, c in enumerate((32, 64, 128, 256)):
        for _ in range(2):
            layers += [
                L.Conv2D(int(c * width), 3, padding="same", use_bias=False),
                L.BatchNormalization(),
                L.Activation("relu"),
            ]
        layers += [L.MaxPooling2D()]
    layers += [L.GlobalAveragePooling2D()]
    return keras.Sequential(layers, name="base")


seq2 = seq1
