"""One sharpness-aware step and the same by hand: run as a script, it prints both as one JSON line."""

import json
import sys

import numpy as np

RATE, RHO = 0.1, 0.3


def linear_batch():
    """Eight rows of three numbers, one target and one weight each."""
    draw = np.random.default_rng(4)
    return (
        draw.normal(size=(8, 3)).astype("float32"),
        draw.normal(size=(8, 1)).astype("float32"),
        draw.uniform(0.5, 2.0, size=8).astype("float32"),
    )


def linear_step_by_hand(kernel, bias, x, y, weight, rho=RHO, rate=RATE):
    """One SAM step of SGD on the mean of weight * (x kernel + bias - y)**2; kernel (3, 1), bias (1,)."""

    def gradient(kernel, bias):
        slope = 2 * weight[:, None] * (x @ kernel + bias - y) / len(x)
        return x.T @ slope, slope.sum(axis=0)

    by_kernel, by_bias = gradient(kernel, bias)
    length = np.sqrt((by_kernel**2).sum() + (by_bias**2).sum())
    by_kernel, by_bias = gradient(kernel + rho * by_kernel / length, bias + rho * by_bias / length)
    return kernel - rate * by_kernel, bias - rate * by_bias


def main(jit_compile):
    """Train a linear model for one batch."""
    import keras

    from ferlab.training.sharpness import sharpness_aware

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    kernel, bias = model.get_weights()
    x, y, weight = linear_batch()
    trainer = sharpness_aware(model, RHO)
    trainer.compile(optimizer=keras.optimizers.SGD(RATE), loss="mse", jit_compile=jit_compile)
    logs = trainer.train_on_batch(x, y, sample_weight=weight, return_dict=True)
    by_hand = linear_step_by_hand(kernel, bias, x, y, weight)
    return {
        "weights": [array.tolist() for array in model.get_weights()],
        "weights_by_hand": [array.tolist() for array in by_hand],
        "loss": float(logs["loss"]),
        "loss_by_hand": float(np.mean(weight * ((x @ kernel + bias - y) ** 2)[:, 0])),
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
