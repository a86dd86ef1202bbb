"""What a training is built from, as its config and the prepared data say."""

from dataclasses import replace

from ferlab.config.schema import TrainConfig
from ferlab.manifest import Manifest
from ferlab.models.build import ModelSpec
from ferlab.training.distribution import own_part
from ferlab.training.inputs import BatchSpec
from ferlab.training.subset import samples_left

NO_WEIGHTS = "none"


def model_spec(config: TrainConfig, manifest: Manifest, weights: str) -> ModelSpec:
    """The network that a config asks for, for images of a prepared dataset; it starts from ``weights``."""
    return ModelSpec(
        backbone=config.backbone.name,
        classes=manifest.classes,
        size_px=manifest.size_px,
        channels=manifest.channels,
        crop_px=config.backbone.crop_px,
        affect=config.recipe.affect > 0,
        working_px=config.backbone.working_px,
        weights=weights,
        weights_required=config.backbone.weights_required and weights != NO_WEIGHTS,
        dropout=config.backbone.dropout,
        width=config.backbone.width,
    )


def with_fitting_batches(config: TrainConfig, manifest: Manifest) -> TrainConfig:
    """The config with batches no larger than what its debug level leaves of the training split."""
    if not config.debug.level:
        return config
    batch = min(config.recipe.batch_size, samples_left(manifest, config.debug.share))
    return replace(config, recipe=replace(config.recipe, batch_size=batch))


def batch_spec(config: TrainConfig, manifest: Manifest) -> BatchSpec:
    """The batches that a config asks for, of the images of a prepared dataset."""
    weights = tuple(manifest.class_weights[name] for name in manifest.classes)
    process, processes = own_part()
    return BatchSpec(
        batch_size=config.recipe.batch_size,
        seed=config.seed,
        balance=config.recipe.balance,
        class_weights=weights,
        max_steps=config.debug.max_steps,
        process=process,
        processes=processes,
        memory_bytes=config.compute.memory_gb * 1e9,
        affect=config.recipe.affect > 0,
        cores=config.compute.cores,
        repeats=config.debug.repeats,
    )
