"""Speed and size of MobileNetV2 on edge runtimes: bars for int8 LiteRT, and the table of all formats.

    python benchmarks/edge.py [--rounds 5] [--backbones mobilenetv2,seq1] [--threads 1]

Untrained networks of 48 px gray faces in their usual working size (MobileNetV2: 96 px), calibrated on drawn noise:
weights change neither size nor speed. Every file is measured in a process of its own, one after another, in every
round; the numbers are medians over the rounds. Bars, on one thread: int8 LiteRT answers at least 10 times as many
images a second as Keras called in a compiled function with one image, 5 times as many as Keras with 32 at once, and
its file is at most 3 MB. Exit code 1 when one is missed.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from ferlab.commands.backend import set_up_backend
from ferlab.config.edge_nodes import PRECISIONS
from ferlab.config.nodes import Compute
from ferlab.edge.description import Description
from ferlab.edge.export import Target, export_file
from ferlab.edge.measuring import Measured, measure
from ferlab.emotions import FER2013
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import CATALOG

SIZE_PX, CALIBRATION = 48, 100
ONE_BAR, MANY_BAR, SIZE_BAR_MB = 10.0, 5.0, 3.0
BARRED = "mobilenetv2"
TARGETS = [Target(name, precision) for name, precisions in PRECISIONS.items() for precision in precisions]


def files_of(name: str, folder: Path) -> dict[str, Path]:
    """The network in every format, by format and precision."""
    spec = ModelSpec(name, FER2013.classes, SIZE_PX, 1, CATALOG[name].default_px, "none", False, 0.0, 1.0)
    model = build_model(spec).model
    noise = np.random.default_rng(0).integers(0, 256, (CALIBRATION, SIZE_PX, SIZE_PX, 1), dtype=np.uint8)
    said = Description(FER2013.classes, "fer2013", "none", SIZE_PX, "gray", 0.0, False, "untrained", name)
    return {target.label: export_file(model, said, target, folder, noise, corrected=False) for target in TARGETS}


def measured(files: dict[str, Path], threads: int, rounds: int) -> dict[str, list[Measured]]:
    """Every file in turn, ``rounds`` times over: what else the machine does meets all of them."""
    found: dict[str, list[Measured]] = {label: [] for label in files}
    for _ in range(rounds):
        for label, file in files.items():
            found[label].append(measure(file, threads))
    return found


def median(rounds: list[Measured], field: str) -> float:
    return statistics.median(getattr(one, field) for one in rounds)


def show(name: str, files: dict[str, Path], found: dict[str, list[Measured]]) -> None:
    fields = ("p50_ms", "p95_ms", "p99_ms", "images_per_s", "images_per_s_batch32", "peak_mb")
    print(f"\n{name:<18}" + "".join(f"{title:>12}" for title in (*fields[:4], "by 32", "peak MB", "size MB")))
    for label, rounds in found.items():
        cells = "".join(f"{median(rounds, field):>12,.2f}" for field in fields)
        print(f"{label:<18}{cells}{files[label].stat().st_size / 1e6:>12.2f}")


def bars(files: dict[str, Path], found: dict[str, list[Measured]]) -> dict[str, bool]:
    """What must hold of the network BARRED, in words, and whether it does."""
    rate = median(found["litert-int8"], "images_per_s")
    keras_one, keras_many = (median(found["keras-float32"], f"images_per_s{end}") for end in ("", "_batch32"))
    size_mb = files["litert-int8"].stat().st_size / 1e6
    return {
        f"int8 {rate:,.0f} img/s, Keras one by one {keras_one:,.0f}: {rate / keras_one:.1f} times (>= {ONE_BAR:g})": (
            rate / keras_one >= ONE_BAR
        ),
        f"int8 {rate:,.0f} img/s, Keras by 32 {keras_many:,.0f}: {rate / keras_many:.1f} times (>= {MANY_BAR:g})": (
            rate / keras_many >= MANY_BAR
        ),
        f"int8 file {size_mb:.2f} MB (<= {SIZE_BAR_MB:g})": size_mb <= SIZE_BAR_MB,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbones", default=f"{BARRED},seq1")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    set_up_backend(Compute("local"))
    held: dict[str, bool] = {}
    for name in options.backbones.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            files = files_of(name, Path(scratch))
            found = measured(files, options.threads, options.rounds)
            show(name, files, found)
            if name == BARRED and options.threads == 1:
                held |= bars(files, found)
    print()
    for line, holds in held.items():
        print(f"{'holds ' if holds else 'MISSED'}  {line}")
    sys.exit(not all(held.values()))


if __name__ == "__main__":
    main()
