"""Ferlab's own training, phases and all, as a script: it prints what came of it as one JSON line.

Options: ``folder`` (prepared data), ``work`` (checkpoints and ``weights.npz``), and those of ``main``.
"""

import hashlib
import importlib.util
import json
import os
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import yaml

BATCH, SEED, STEPS = 64, 5, 4
WEIGHTS = "weights.npz"
CONF = Path(__file__).resolve().parents[2] / "conf"


class Joined:
    """One process that is fed what several would get: the parts of every batch one after the other."""

    def __init__(self, parts):
        self.parts = parts
        self.spec = replace(parts[0].spec, process=0, processes=1)
        self.steps_per_epoch, self.steps_per_execution = parts[0].steps_per_epoch, parts[0].steps_per_execution

    def epoch(self, number, change):
        for batches in zip(*(part.epoch(number, change) for part in self.parts), strict=True):
            yield tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))


def recipe(asked):
    from ferlab.config.nodes import Phase, Recipe

    tune = Phase("all", 3, 0.005, optimizer="sgd", warmup=0.1, weight_decay=1e-3)
    features = "computed" if asked.get("joined") else "cached"  # as where several processes train
    head = Phase("head", 2, 1e-3, optimizer="adam", trainable=0.0, features=features, copies=1)
    phases = [tune] if asked.get("one_phase") else [head, tune]
    return Recipe("test", phases=phases, ema=asked.get("ema", 0.0), distill=asked.get("distill", 0.0))


def without_batch_norm():
    """48 px gray images to 7 classes; its parts are named as in every built model."""
    import keras
    from keras import layers

    base = [layers.Conv2D(8, 5, strides=3, activation="relu"), layers.Conv2D(16, 3, strides=2, activation="relu")]
    image = keras.Input((48, 48, 1), dtype="uint8", name="image")
    scaled = layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.Sequential([keras.Input((48, 48, 1)), *base, layers.Flatten()], name="base")(scaled)
    return keras.Model(image, layers.Softmax(name="probabilities")(layers.Dense(7, name="logits")(x)))


def network(asked, classes):
    """Each backend has a generator of its own, so what it has drawn is drawn again."""
    from ferlab.models.build import ModelSpec, build_model

    if asked.get("batch_norm", True):
        model = build_model(ModelSpec("seq1", classes, 48, 1, None, "none", False, 0.0, 0.25)).model
    else:
        model = without_batch_norm()
    draw = np.random.default_rng(SEED)
    model.set_weights([
        draw.normal(0, (2 / np.prod(old.shape[:-1])) ** 0.5, old.shape) if old.ndim > 1 else old
        for old in model.get_weights()
    ])  # fmt: skip
    return model


def batch_data(asked, manifest):
    from ferlab.training.distribution import own_part
    from ferlab.training.inputs import BatchSpec, training_data

    process, processes = own_part()
    classes = len(manifest.classes)
    spec = BatchSpec(BATCH, SEED, "none", (1.0,) * classes, STEPS, asked.get("memory_bytes", 1e9), process, processes)
    folder = Path(asked["folder"])
    if not asked.get("joined"):
        return training_data(folder, manifest, spec)
    parts = [training_data(folder, manifest, replace(spec, process=part, processes=2)) for part in (0, 1)]
    return replace(parts[0], train=Joined([part.train for part in parts]))


def trained(asked, work, stop_after=0, resume=False):
    """Progress, model and first batches; None for all when it is stopped after an epoch."""
    import keras

    from ferlab.config.nodes import Augment
    from ferlab.manifest import Manifest
    from ferlab.training.augmentation import changer
    from ferlab.training.checkpoint import Checkpoints
    from ferlab.training.distribution import all_gpus, check_shares
    from ferlab.training.fit import Watch, fit
    from ferlab.training.phases import FitSpec

    def on_epoch(row):
        if row.epoch == stop_after:
            raise KeyboardInterrupt

    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    manifest = Manifest.load(Path(asked["folder"]))
    augment = Augment(**yaml.safe_load((CONF / "augment" / f"{asked.get('augment', 'none')}.yaml").read_text()))
    data = batch_data(asked, manifest)
    if asked.get("distill"):
        answers = np.random.default_rng(SEED).dirichlet(np.ones(len(manifest.classes)), data.train.count)
        data = data.with_teacher(answers.astype(np.float32))
    with all_gpus(asked.get("devices", ())) as devices:
        check_shares(BATCH, devices)
        model = network(asked, manifest.classes)
        spec = FitSpec(recipe(asked), augment, max_epochs=0, train_all=False)
        try:
            progress = fit(model, data, spec, Checkpoints(work), Watch(lambda *step: None, on_epoch), resume)
        except KeyboardInterrupt:
            return None
    digest = hashlib.sha256()
    for batch in islice(data.train.epoch(0, changer(augment)), 3):
        for array in keras.tree.flatten(batch):
            digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "history": [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in progress.history],
        "best_epoch": progress.best_epoch,
        "batches": digest.hexdigest(),
        "devices": devices,
        "weights": model.get_weights(),
    }


def set_up(asked):
    """``cpus``: logical devices; ``join``: coordinator, processes, process."""
    cpus = asked.get("cpus", 1)
    if os.environ["KERAS_BACKEND"] == "jax":
        assert importlib.util.find_spec("tensorflow") is None
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={cpus}"
    else:
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * cpus)
    if asked.get("join"):
        from ferlab.training.distribution import join_processes

        join_processes(*asked["join"])


def main(asked):
    """``stop_after``: interrupt after that epoch and resume with a new network."""
    set_up(asked)
    work, stop_after = Path(asked["work"]), asked.get("stop_after", 0)
    work.mkdir(parents=True, exist_ok=True)
    if stop_after:
        assert trained(asked, work, stop_after) is None
    outcome = trained(asked, work, resume=bool(stop_after))
    np.savez(work / WEIGHTS, *outcome.pop("weights"))
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
