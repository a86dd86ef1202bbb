"""Speed of training: ferlab against a bare `model.fit` and against the way of the tutorials; cached features; tracking.

    python benchmarks/training.py [--images 3000] [--rounds 5] [--fer2013 DIR] [--only seq1,vgg16] [--work DIR]

Three ways train the same architecture on the same images, batches of the same size, Adam at the same rate:
ferlab    `fit` from memory, augment=light, precision by `auto`; its own numbers, the checks of every step included
bare      `model.fit` on the arrays, no augmentation, ferlab's precision, no XLA
tutorial  `keras.utils.image_dataset_from_directory` on PNG files, float32, RandomFlip, -Rotation, -Zoom and
          -Translation as layers of the model, `compile` and `fit` with Keras's defaults (batch size as ferlab's)
They take turns in one process: in every round each trains one epoch, timed between Keras's `on_epoch_begin` and
`on_epoch_end`; a first round, which compiles, is not counted. A ratio is the median of the ratios within the rounds.

Then: ten epochs of a head on cached features against one epoch on computed ones, both whole, first compilation
included; and what tracking takes of a training of ten minutes with TRACKED_EPOCHS epochs (benchmarks/tracking.py).
Bars: ..._BAR. Exit code 1 when one is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferlab.commands.backend import set_up_backend
from ferlab.config.files import conf_folder
from ferlab.config.nodes import Augment, Compute, Phase, Recipe
from ferlab.manifest import Manifest
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import CPU_BF16, backbone
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.fit import EpochRow, Watch, fit
from ferlab.training.inputs import BatchSpec, MemoryBatches, TrainingData, training_data
from ferlab.training.optimization import optimizer
from ferlab.training.phases import FitSpec
from ferlab.training.precision import choose_precision, precision_policy
from ferlab.training.small_maps import quicken_small_maps

OURS, BARE, TUTORIAL = "ferlab", "bare", "tutorial"
BARE_BAR, TUTORIAL_BAR, BFLOAT16_BAR, CACHED_BAR, TRACKING_BAR = 0.95, 1.05, 2.0, 1.5, 0.02
TRACKED_S, TRACKED_EPOCHS = 600, 20
MEMORY_BYTES, RATE, DROPOUT = 8e9, 1e-4, 0.2
LOSS, METRICS = "categorical_crossentropy", ["accuracy"]


@dataclass(frozen=True)
class Case:
    """A network, its usual batch size, and the size in px at which it computes (None: that of the images)."""

    backbone: str
    batch: int
    working_px: int | None

    @property
    def needs_rgb(self) -> bool:
        """Whether a tutorial would feed it three channels."""
        return backbone(self.backbone).needs_rgb


CASES = (Case("seq1", 128, None), Case("vgg16", 64, None), Case("mobilenetv2", 64, 96))


@dataclass(frozen=True)
class Bar:
    """A measured number, its spread, and what it must be."""

    name: str
    value: float
    spread: str
    limit: float
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether it is what it must be."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def prepared(work: Path, images: int, fer2013: Path | None) -> Path:
    """The folder of the prepared data: a FER-2013, or enough drawn faces for ``images`` of training."""
    real = ["dataset=fer2013", f"dataset.root={fer2013}", "dataset.protocol=carved"]
    source = real if fer2013 else drawn(images)
    output = work / "prepared.json"
    command = [sys.executable, "-m", "ferlab", "prepare", *source, "--json", str(output)]
    environment = os.environ | {"FERLAB_HOME": str(work / "home")}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return Path(json.loads(output.read_text())["folder"])


def drawn(images: int) -> list[str]:
    """Overrides for drawn faces of which ``images`` are left when validation and test are taken away."""
    return ["dataset=synthetic", f"dataset.synthesize.count={max(200, round(1.6 * images))}"]


def network(case: Case, manifest: Manifest, policy: str) -> Any:
    """The network as ferlab builds it, random weights."""
    spec = ModelSpec(
        backbone=case.backbone,
        classes=manifest.classes,
        size_px=manifest.size_px,
        channels=manifest.channels,
        working_px=case.working_px,
        weights="none",
        weights_required=False,
        dropout=DROPOUT,
        width=1.0,
    )
    with precision_policy(policy):
        return build_model(spec).model


def batches(folder: Path, manifest: Manifest, batch: int, images: int) -> TrainingData:
    """Prepared data in memory, cut to ``images`` of training."""
    spec = BatchSpec(batch, 0, "none", (1.0,) * len(manifest.classes), max_steps=0, memory_bytes=MEMORY_BYTES)
    data = training_data(folder, manifest, spec)
    whole, some = in_memory(data), slice(None, images)
    return replace(data, train=MemoryBatches([whole.copies[0][some]], whole.known[some], manifest, spec))


def in_memory(data: TrainingData) -> MemoryBatches:
    """The training split, which must fit in MEMORY_BYTES."""
    if not isinstance(data.train, MemoryBatches):
        sys.exit(
            f"{data.manifest.protocol}: does not fit in {MEMORY_BYTES / 2e9:g} GB; all ways train from memory here."
        )
    return data.train


def light() -> Augment:
    """What ``augment=light`` says."""
    import yaml

    return Augment(**yaml.safe_load((conf_folder() / "augment" / "light.yaml").read_text()))


def one_epoch(model: Any, *data: Any, **options: Any) -> float:
    """Seconds of an epoch, as ``fit`` of ferlab counts them."""
    import keras

    class Clock(keras.callbacks.Callback):
        started = seconds = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.monotonic() - self.started

    clock = Clock()
    model.fit(*data, epochs=1, verbose=0, callbacks=[clock], **options)
    return clock.seconds


class Bare:
    """The same network, arrays in memory, nothing else."""

    def __init__(self, case: Case, data: TrainingData, policy: str, phase: Phase) -> None:
        train = in_memory(data)
        self.count, self.batch = train.steps_per_epoch * case.batch, case.batch
        self.images = train.copies[0][: self.count]
        self.targets = np.eye(len(data.manifest.classes), dtype=np.float32)[train.known.labels[: self.count]]
        self.model = network(case, data.manifest, policy)
        self.model.compile(optimizer(phase, 1), LOSS, metrics=METRICS, jit_compile=False)

    def images_per_s(self) -> float:
        """Speed of one epoch."""
        return self.count / one_epoch(self.model, self.images, self.targets, batch_size=self.batch)


class Tutorial:
    """PNG files in class folders, random layers in the model, Keras's defaults."""

    def __init__(self, case: Case, data: TrainingData, phase: Phase, augment: Augment, folder: Path) -> None:
        import keras
        from keras import layers

        self.count = data.train.steps_per_epoch * case.batch
        write_files(data, self.count, folder)
        channels = 3 if case.needs_rgb else data.manifest.channels
        side = case.working_px or data.manifest.size_px
        self.files = keras.utils.image_dataset_from_directory(
            folder,
            label_mode="categorical",
            color_mode="rgb" if channels == 3 else "grayscale",
            image_size=(side, side),
            batch_size=case.batch,
            seed=0,
            verbose=False,
        )
        spec = ModelSpec(
            case.backbone, data.manifest.classes, side, channels, None, "none", False, dropout=DROPOUT, width=1.0
        )
        random_layers = [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(augment.rotation_deg / 360),
            layers.RandomZoom(augment.zoom),
            layers.RandomTranslation(augment.shift, augment.shift),
        ]
        self.model = keras.Sequential([keras.Input((side, side, channels)), *random_layers, build_model(spec).model])
        self.model.compile(optimizer(phase, 1), LOSS, metrics=METRICS)

    def images_per_s(self) -> float:
        """Speed of one epoch."""
        return self.count / one_epoch(self.model, self.files)


def write_files(data: TrainingData, count: int, folder: Path) -> None:
    """The first ``count`` training images as ``<class>/<number>.png``; every class has a folder."""
    train = in_memory(data)
    for name in data.manifest.classes:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        name = data.manifest.classes[train.known.labels[number]]
        cv2.imwrite(str(folder / name / f"{number:06d}.png"), train.copies[0][number])


def compared(case: Case, folder: Path, options: argparse.Namespace, device: str) -> dict[str, list[float]]:
    """Images per second of the three ways, one number a round each."""
    manifest, augment = Manifest.load(folder), light()
    data = batches(folder, manifest, case.batch, options.images)
    policy = choose_precision("auto", backbone(case.backbone).bfloat16, device)
    phase = Phase("all", options.rounds + 1, RATE, optimizer="adam", schedule="constant")
    how = FitSpec(Recipe("benchmark", [phase], case.batch), augment, max_epochs=0, train_all=True)
    rates: dict[str, list[float]] = {OURS: [], BARE: [], TUTORIAL: []}
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        others: dict[str, Bare | Tutorial] = {
            BARE: Bare(case, data, policy, phase),
            TUTORIAL: Tutorial(case, data, phase, augment, Path(scratch) / "files"),
        }

        def on_epoch(row: EpochRow) -> None:
            rates[OURS].append(row.images_per_s)
            for name, way in others.items():
                rates[name].append(way.images_per_s())

        watch = Watch(lambda *step: None, on_epoch)
        ours = network(case, manifest, policy)
        quicken_small_maps(ours, device)
        fit(ours, data, how, Checkpoints(Path(scratch) / "checkpoints"), watch)
    shown = f"{manifest.size_px} px" + (f" enlarged to {case.working_px}" if case.working_px else "")
    size = f"{data.train.steps_per_epoch} batches of {case.batch}"
    print(f"\n{case.backbone}, {shown}, {policy}, {size} an epoch, {options.rounds} rounds, img/s")
    for name, found in rates.items():
        del found[0]
        print(f"  {name:<10}{statistics.median(found):>8,.0f}   {min(found):,.0f}..{max(found):,.0f}", flush=True)
    return rates


def speed_bars(case: Case, rates: dict[str, list[float]], device: str) -> list[Bar]:
    """Ratios within the rounds against both other ways."""
    tutorial = BFLOAT16_BAR if case.backbone == "vgg16" and device == CPU_BF16 else TUTORIAL_BAR
    bars = []
    for other, limit in ((BARE, BARE_BAR), (TUTORIAL, tutorial)):
        ratios = [ours / theirs for ours, theirs in zip(rates[OURS], rates[other], strict=True)]
        bars.append(Bar(f"{case.backbone} / {other}", statistics.median(ratios), spread(ratios), limit, at_least=True))
    return bars


def head_seconds(case: Case, data: TrainingData, features: str, epochs: int, policy: str, work: Path) -> float:
    """Seconds of a phase of the head alone: features, epochs, validation, checkpoints."""
    phase = Phase("head", epochs, 1e-3, optimizer="adam", trainable=0, features=features)
    how = FitSpec(Recipe("benchmark", [phase], case.batch), light(), max_epochs=0, train_all=False)
    model = network(case, data.manifest, policy)
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        started = time.monotonic()
        fit(model, data, how, Checkpoints(Path(scratch)), Watch(lambda *step: None, lambda row: None))
        return time.monotonic() - started


def cached_bar(case: Case, folder: Path, options: argparse.Namespace, device: str) -> Bar:
    """Ten epochs on cached features against one on computed ones."""
    policy = choose_precision("auto", backbone(case.backbone).bfloat16, device)
    data = batches(folder, Manifest.load(folder), case.batch, options.images)
    ratios = []
    for _ in range(options.rounds):
        cached = head_seconds(case, data, "cached", 10, policy, options.work)
        ratios.append(cached / head_seconds(case, data, "computed", 1, policy, options.work))
    name = f"{case.backbone}: 10 cached / 1 computed"
    return Bar(name, statistics.median(ratios), spread(ratios), CACHED_BAR, at_least=False)


def tracking_bar(case: Case, options: argparse.Namespace) -> Bar:
    """Share of tracking in a training of TRACKED_S seconds."""
    output = options.work / "tracking.json"
    script = Path(__file__).with_name("tracking.py")
    limits = ("debug=fast", "debug.max_epochs=3", "dataset=synthetic")
    home = ("--home", str(options.work / "tracking"))  # the database is made once, not for every training
    command = [sys.executable, str(script), "--out", str(output), *home, *limits, f"backbone={case.backbone}"]
    costs, seconds = [], []
    for _ in range(options.rounds):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(output.read_text())
        once, sampling = found["fixed_s"] + TRACKED_EPOCHS * found["epoch_s"], found["sampling_share"]
        seconds.append(found["fixed_s"])
        costs.append(once / TRACKED_S + sampling / (os.cpu_count() or 1))
    parts = sorted(found["parts"].items(), key=lambda part: -part[1])
    shown = ", ".join(f"{what} {spent:.1f}" for what, spent in parts if spent >= 0.05)
    print(f"\ntracking: {statistics.median(seconds):.1f} s a run, {found['epoch_s']:.2f} s an epoch; last run: {shown}")
    name = f"{case.backbone}: tracking's share of {TRACKED_S // 60} min"
    return Bar(name, statistics.median(costs), spread(costs), TRACKING_BAR, at_least=False)


def spread(values: list[float]) -> str:
    """Smallest and largest."""
    return f"{min(values):.3f}..{max(values):.3f}"


def main() -> None:
    """Measure, print, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000, help="training images of an epoch, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fer2013", type=Path, help="a FER-2013 instead of drawn faces")
    parser.add_argument("--only", default="", help="names of networks, with commas")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ferlab-bench" / "training")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options.work.mkdir(parents=True, exist_ok=True)
    folder = prepared(options.work, options.images, options.fer2013)
    device = set_up_backend(Compute("local"))
    print(f"{device}, {os.cpu_count()} cores")
    cases = [case for case in CASES if not options.only or case.backbone in options.only.split(",")]
    bars: list[Bar] = []
    for case in cases:
        bars += speed_bars(case, compared(case, folder, options, device), device)
    bars.append(cached_bar(cases[-1], folder, options, device))
    bars.append(tracking_bar(cases[-1], options))
    print(f"\n{'':<40}{'median':>8}{'spread':>16}{'bar':>10}")
    for bar in bars:
        limit = f"{'>=' if bar.at_least else '<='} {bar.limit:g}"
        verdict = "holds" if bar.holds else "MISSED"
        print(f"{bar.name:<40}{bar.value:>8.3f}{bar.spread:>16}{limit:>10}  {verdict}")
    missed = [bar.name for bar in bars if not bar.holds]
    sys.exit(f"missed: {', '.join(missed)}" if missed else None)


if __name__ == "__main__":
    main()
