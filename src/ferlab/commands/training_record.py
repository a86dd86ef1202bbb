"""What a training run keeps beside its numbers: the model, validation predictions, figures."""

import io
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.commands.backend import gpu_names
from ferlab.commands.launch import PATHS
from ferlab.commands.mistakes import explanation, mistakes_picture
from ferlab.config.schema import TrainConfig
from ferlab.evaluation.face_figures import augmented_figure
from ferlab.evaluation.figures import confusion_figure, curves_figure, per_class_figure
from ferlab.evaluation.metrics import Scores, score
from ferlab.manifest import Manifest
from ferlab.models.build import BuiltModel
from ferlab.models.cost import mflops, size_mb
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.preparation.prepare import Prepared
from ferlab.samples import VALIDATION
from ferlab.scoring.predict import predict_split
from ferlab.tracking.records import RunRecord, find_run
from ferlab.tracking.run import Run, flatten
from ferlab.training.augmentation import changer
from ferlab.training.checkpoint import Progress
from ferlab.training.inputs import TrainingData

RESAMPLES = 2000
BOOTSTRAP_SEED = 0
EXAMPLES = 4
SHOWN_FACES, SHOWN_VERSIONS = 6, 7
SETTINGS = "settings.json"
NO_SETTINGS = ("resume", "from_run", "study", "sweep")
"""What says nothing of how a network is trained."""


@dataclass(frozen=True)
class Trained:
    """A finished training run, its scores on validation and what it took.

    ``images_per_s``: median over the epochs of the last phase, validation left out.
    """

    run_id: str
    name: str
    scores: Scores
    minutes: float
    epochs: int
    images_per_s: float
    parameters: int


_measured_costs: dict[str, dict[str, float]] = {}


def all_settings(config: TrainConfig, raw: Mapping[str, Any]) -> dict[str, str]:
    """Every setting of a training by its dotted key, but those that say where something lies.

    ``raw``, the composed config, leaves some of them out; their defaults, which another version of the code may not
    have, are those of ``config``.
    """
    return settings_of({**flatten(asdict(config)), **flatten(raw)})


def settings_of(flat: Mapping[str, str]) -> dict[str, str]:
    """Of a config with dotted keys those that ``all_settings`` has."""
    return {key: value for key, value in flat.items() if key not in PATHS and key.split(".")[0] not in NO_SETTINGS}


def log_settings(run: Run, config: TrainConfig, raw: Mapping[str, Any]) -> None:
    """All settings as ``settings.json``: what the run begins with."""
    run.log_json(all_settings(config, raw), SETTINGS)


def log_model_facts(run: Run, built: BuiltModel, policy: str, devices: int) -> None:
    """Summary, parameters, precision, devices, and whether the base was pretrained (and why not, when it should be).

    Also a digest of the weights that it starts with: it tells later on whether two trainings parted before they began.
    """
    summary = io.StringIO()
    built.model.summary(print_fn=lambda line, **_: summary.write(line + "\n"), expand_nested=True, show_trainable=True)
    run.log_text(summary.getvalue(), "model_summary.txt")
    run.log_metrics(cost_metrics(built.model))
    run.set_tags({"pretrained": str(built.pretrained).lower(), "precision": policy, "devices": str(devices)})
    import keras

    device = " ".join(sorted(set(gpu_names()))) or "cpu"
    started = sha256()
    for array in built.model.get_weights():
        started.update(array.tobytes())
    run.set_tags({"backend": keras.config.backend(), "device": device, "weights.initial": started.hexdigest()})
    if built.warning:
        run.set_tags({"ferlab.warning": built.warning})


def log_augmented_sample(run: Run, data: TrainingData, config: TrainConfig) -> None:
    """The first training images beside augmented versions of them."""
    images = data.train.first(SHOWN_FACES)
    change, rng = changer(config.augment), np.random.default_rng(config.seed)
    targets = np.empty((len(images), 0), np.float32)
    versions = [change(images, targets, rng)[0] for _ in range(SHOWN_VERSIONS)]
    figure = augmented_figure(images, np.stack(versions, axis=1), f"{run.name}: augment={config.augment.name}")
    run.log_figure(figure, "figures/augmented.png")


def log_validation(run: Run, prepared: Prepared, model: Any) -> Scores:
    """Scores of the kept epoch on validation with the predictions, the surest mistakes beside what spoke for them."""
    predictions = predict_split(model, prepared.folder, prepared.manifest, VALIDATION, run.id)
    scores = score(predictions, RESAMPLES, BOOTSTRAP_SEED)
    run.log_saved(predictions.save, "validation.parquet", "predictions")
    run.log_metrics(scores.flat("val"))
    run.log_figure(confusion_figure(scores, f"{run.name}, validation"), "figures/confusion_validation.png")
    run.log_figure(per_class_figure(scores, f"{run.name}, validation"), "figures/per_class_validation.png")
    mistakes = mistakes_picture(prepared.folder, prepared.manifest, predictions, run.name, explanation(model))
    if mistakes is not None:
        run.log_figure(mistakes, "figures/mistakes_validation.png")
    return scores


def trained_of(run_id: str) -> Trained:
    """A finished training as it is recorded."""
    record = find_run(run_id)
    scores = score(Predictions.load(record.artifact(PREDICTIONS)), RESAMPLES, BOOTSTRAP_SEED)
    took = record.metrics
    return Trained(record.id, record.name, scores, took["train_minutes"], int(took["epochs"]), took["images_per_s"],
                   int(took["parameters"]))  # fmt: skip


def stored_result(record: RunRecord) -> dict[str, Any]:
    """What ``ferlab train`` gave as the result of a finished run, from what is recorded of it; of others the id."""
    if record.stage != "train":
        return {"run_id": record.id}
    scores = score(Predictions.load(record.artifact(PREDICTIONS)), RESAMPLES, BOOTSTRAP_SEED)
    return {"run_id": record.id, "metrics": scores.as_json()}


def log_history(run: Run, progress: Progress) -> float:
    """Every epoch's numbers, the curves, which epoch was kept; images/s of the last phase (median), which it returns.

    Earlier phases may have trained a head on cached features.
    """
    run.log_json(progress.history, "history.json")
    run.log_figure(curves_figure(progress.history, progress.best_epoch, run.name), "figures/curves.png")
    last = progress.history[-1]["phase"]
    images_per_s = float(np.median([row["images_per_s"] for row in progress.history if row["phase"] == last]))
    run.log_metrics({"best_epoch": progress.best_epoch, "epochs": progress.epoch, "images_per_s": images_per_s})
    return images_per_s


def log_trained_model(run: Run, config: TrainConfig, manifest: Manifest, model: Any) -> None:
    """The model with its signature and what travels with it."""
    shape = (EXAMPLES, manifest.size_px, manifest.size_px, manifest.channels)
    example = np.random.default_rng(config.seed).integers(0, 256, shape, dtype=np.uint8)
    run.log_model(model, example, model_metadata(manifest, run.id, config.backbone.name))


def cost_metrics(model: Any) -> dict[str, float]:
    """What a model costs, as metrics: parameters, MFLOPs of one image, MB of its file.

    Measured once for all jobs of a sweep that have the same network.
    """
    network = str(model.to_json())
    if network not in _measured_costs:
        with tempfile.TemporaryDirectory() as scratch:
            size = size_mb(model, Path(scratch))
        _measured_costs[network] = {"parameters": model.count_params(), "mflops": mflops(model), "size_mb": size}
    return _measured_costs[network]


def model_metadata(manifest: Manifest, run_id: str, architecture: str) -> dict[str, Any]:
    """What travels with a model so that its numbers can be read: classes in order, image settings, origin."""
    return {
        "classes": list(manifest.classes),
        "taxonomy": manifest.taxonomy,
        "protocol": manifest.protocol,
        "dataset_digest": manifest.digest,
        "size_px": manifest.size_px,
        "colour": manifest.colour,
        "margin": manifest.margin,
        "align": manifest.align,
        "pixels": "uint8 0..255, normalised inside the model",
        "architecture": architecture,
        "run_id": run_id,
    }
