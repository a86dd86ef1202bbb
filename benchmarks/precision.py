"""Speed of a training step in float32 and in mixed bfloat16: what the `bfloat16` column of the catalog is filled from.

    python benchmarks/precision.py [--backbones seq1,vgg16] [--size 48] [--batch 64] [--steps 10] [--rounds 5]

Every network is built as `conf/backbone/NAME.yaml` has it (working size, crop), with random weights, and takes SGD
steps on one batch in memory. Both policies alternate within a round, so what else the machine does meets both alike;
the first steps, which compile, are not counted. The ratio is the median of the ratios within a round.
"""

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np

from ferlab.models.blocks import uses_xla
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import CATALOG, backbone
from ferlab.training.precision import cpu_kind, precision_policy
from ferlab.training.small_maps import quicken_small_maps

POLICIES = ("float32", "mixed_bfloat16")
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
WARM_UP_STEPS = 3


def compiled(name: str, policy: str, size_px: int) -> Any:
    """The network of that row in that arithmetic, ready to train."""
    import keras

    row = backbone(name)
    spec = ModelSpec(name, CLASSES, size_px, 1, row.default_px, "none", False, 0.3, 1.0, row.crop_px)
    with precision_policy(policy):
        model = build_model(spec).model
    quicken_small_maps(model, cpu_kind())
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "categorical_crossentropy", jit_compile=uses_xla())
    return model


def gpus() -> int:
    """How many GPUs the backend of Keras sees."""
    import keras

    return len(keras.distribution.list_devices("gpu"))


def images_per_s(model: Any, images: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Training speed over ``steps`` batches."""
    started = time.perf_counter()
    for _ in range(steps):
        loss = model.train_on_batch(images, labels)
    float(loss)  # accelerators answer before they have finished
    return steps * len(images) / (time.perf_counter() - started)


def measured(name: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Images per second by policy, one number a round."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch, options.size, options.size, 1), dtype=np.uint8)
    labels = np.eye(len(CLASSES), dtype=np.float32)[rng.integers(0, len(CLASSES), options.batch)]
    models = {policy: compiled(name, policy, options.size) for policy in POLICIES}
    for model in models.values():
        images_per_s(model, images, labels, WARM_UP_STEPS)
    rates: dict[str, list[float]] = {policy: [] for policy in POLICIES}
    for number in range(options.rounds):
        for policy in POLICIES if number % 2 == 0 else reversed(POLICIES):
            rates[policy].append(images_per_s(models[policy], images, labels, options.steps))
    return rates


def main() -> None:
    """Measure and print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default=",".join(CATALOG), help="names of the catalog, with commas")
    parser.add_argument("--size", type=int, default=48, help="pixels of the images")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10, help="steps of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    print(f"{keras.backend.backend()}, {gpus()} GPUs, {options.size} px, batches of {options.batch}, images/s")
    print(f"{'':<20}{'px':>5}{'float32':>10}{'bfloat16':>10}{'ratio':>8}{'range':>14}")
    for name in options.backbones.split(","):
        rates = measured(name, options)
        keras.backend.clear_session()
        ratios = [fast / plain for plain, fast in zip(*(rates[policy] for policy in POLICIES), strict=True)]
        plain, fast = (statistics.median(rates[policy]) for policy in POLICIES)
        px = CATALOG[name].default_px or CATALOG[name].crop_px or options.size
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        print(
            f"{name:<20}{px:>5}{plain:>10,.0f}{fast:>10,.0f}{statistics.median(ratios):>8.2f}{spread:>14}", flush=True
        )


if __name__ == "__main__":
    main()
