"""Gradients of filters over small maps in bfloat16: oneDNN's own against the matrix products that training takes.

    python benchmarks/small_maps.py [--batch 64] [--rounds 9]

Every row is a 3x3 convolution, its map's side, its channels in and out, and milliseconds of its forward and
backward pass, the least of the rounds, in which both take turns. Training takes products up to MOST_POSITIONS cells of
a map. Exit code 1 when they are slower there, or the processor does not multiply bfloat16 itself.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ferlab.models.catalog import CPU_BF16
from ferlab.training.precision import cpu_kind, precision_policy
from ferlab.training.small_maps import MOST_POSITIONS, convolved

SHAPES = ((3, 512, 512), (5, 512, 512), (6, 256, 256), (6, 256, 512), (6, 512, 512), (10, 256, 256), (12, 256, 256))
"""Those of VGG16 at 48 px, of vgg_small, and larger ones."""


def backward(side: int, channels: int, filters: int, batch: int, quickened: bool) -> Callable[[], Any]:
    """Forward and backward pass of one convolution, compiled."""
    import keras
    import tensorflow as tf

    with precision_policy("mixed_bfloat16"):
        maps = keras.Input((side, side, channels), dtype="bfloat16")
        model = keras.Model(maps, keras.layers.Conv2D(filters, 3, padding="same")(maps))
    if quickened:
        model.layers[-1].convolution_op = convolved
    images = tf.cast(tf.random.normal((batch, side, side, channels)), tf.bfloat16)
    change = tf.cast(tf.random.normal((batch, side, side, filters)), tf.bfloat16)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(images)
            answers = model(images, training=True)
        return tape.gradient(answers, [images, *model.trainable_variables], change)

    return step


def seconds(step: Callable[[], Any]) -> float:
    """Of one call."""
    started = time.perf_counter()
    for gradient in step():
        gradient.numpy()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if cpu_kind() != CPU_BF16:
        sys.exit("this processor does not multiply bfloat16 itself: training takes no products on it")
    slower = []
    print(f"{'map':>7}{'channels':>12}{'oneDNN ms':>12}{'products ms':>13}{'ratio':>8}")
    for side, channels, filters in SHAPES:
        steps = [backward(side, channels, filters, options.batch, quickened) for quickened in (False, True)]
        for step in steps:
            step()  # compiles
        own, products = (
            min(times)
            for times in zip(*([seconds(step) for step in steps] for _ in range(options.rounds)), strict=True)
        )
        print(
            f"{f'{side} x {side}':>7}{f'{channels} > {filters}':>12}{1e3 * own:>12.1f}{1e3 * products:>13.1f}"
            f"{own / products:>8.2f}",
            flush=True,
        )
        if side * side <= MOST_POSITIONS and products > own:
            slower.append(f"{side} x {side}, {channels} > {filters}")
    sys.exit(f"slower by products: {'; '.join(slower)}" if slower else None)


if __name__ == "__main__":
    main()
