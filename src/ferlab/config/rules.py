"""Rules across fields: combinations that each look right and cannot work together."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ferlab.config.cloud_rules import cloud_target, raw_images_apart, sweep_in_cloud, trainable_in_cloud
from ferlab.config.edge_rules import model_named, precision_of_format, variants_known
from ferlab.config.nodes import (
    Augment,
    Backbone,
    Combination,
    Compute,
    Dataset,
    Debug,
    Phase,
    Pipeline,
    Preparation,
    Recipe,
    Sweep,
)
from ferlab.models.catalog import CATALOG
from ferlab.storage.objects import is_remote

Problem = tuple[str, str]

OBJECTIVES = (
    *("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc"),
    *("parameters", "mflops", "size_mb", "train_minutes"),
)
"""What a sweep's jobs can be judged by: scores on validation, and costs."""


class FamilyFacts(Protocol):
    """What the rules ask of a kind of files; ``datasets.catalog.Family`` has it."""

    @property
    def size_px(self) -> int: ...  # noqa: D102
    @property
    def colour(self) -> str: ...  # noqa: D102
    @property
    def protocols(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def drawn(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def votes_name(self) -> str | None: ...  # noqa: D102
    @property
    def has_faces(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Facts:
    """What the rules need to know of the machine and the files; the command supplies it."""

    families: Mapping[str, FamilyFacts]
    datasets: Mapping[str, str]
    taxonomies: Mapping[str, tuple[str, ...]]
    drawn: Mapping[str, str]
    gpu_present: bool = False
    backbones: tuple[str, ...] = tuple(CATALOG)
    recipes: tuple[str, ...] = ()

    def family(self, dataset: Dataset) -> FamilyFacts | None:
        """Of a dataset, or of the layout in which synthetic faces are drawn; None when there is none of that name."""
        drawn = dataset.name == "synthetic"
        name = self.drawn.get(dataset.layout or "") if drawn else self.datasets.get(dataset.name)
        return self.families[name] if name else None


def dataset_source(facts: Facts, dataset: Dataset, debug: Debug) -> Iterator[Problem]:
    """Either a root or synthetic faces (debug runs ignore the root), and a protocol that the layout has."""
    if dataset.root and dataset.synthesize.count and debug.name != "fast":
        yield (
            "dataset.root",
            f"given, but dataset.synthesize.count={dataset.synthesize.count} draws faces instead; "
            "choose dataset=fer2013 (or another real one), or set the count to 0",
        )
    if not dataset.root and not dataset.synthesize.count:
        yield (
            "dataset.root",
            f"not set. Point it at the folder that holds {dataset.name}, or try dataset=synthetic.",
        )
    if 0 < dataset.synthesize.count < 70:
        yield (
            "dataset.synthesize.count",
            f"at least 70 faces fill every class and split, got {dataset.synthesize.count}",
        )


def dataset_known(facts: Facts, dataset: Dataset) -> Iterator[Problem]:
    """A known name, a layout and a protocol that it has, and what only some datasets can be asked for."""
    family = facts.family(dataset)
    if family is None and dataset.name == "synthetic":
        yield "dataset.layout", f"{dataset.layout!r} cannot be drawn; known: {', '.join(facts.drawn)}"
        return
    if family is None:
        yield "dataset.name", f"{dataset.name!r} is not known; known: {', '.join((*facts.datasets, 'synthetic'))}"
        return
    if dataset.layout is not None and dataset.layout not in family.drawn:
        yield (
            "dataset.layout",
            f"{dataset.name} is drawn in {', '.join(family.drawn)}; files are recognised by themselves",
        )
    if dataset.protocol not in family.protocols:
        yield "dataset.protocol", f"{dataset.name} has {', '.join(family.protocols)}; got {dataset.protocol!r}"
    elif dataset.folds and family.protocols[dataset.protocol].select is not None:
        yield "dataset.folds", f"protocol {dataset.protocol} has a validation split of its own; folds need carved"
    if dataset.fold >= max(dataset.folds, 1):
        yield "dataset.fold", f"must lie in 0..dataset.folds - 1 ({dataset.folds} folds), got {dataset.fold}"
    if dataset.folds == 1:
        yield "dataset.folds", "one fold leaves nothing to train on; use 2 or more, or 0 for none"
    known = facts.taxonomies.get(dataset.name, ())
    if dataset.taxonomy and known and dataset.taxonomy not in known:
        yield "dataset.taxonomy", f"{dataset.name} is read with {', '.join(known)}; got {dataset.taxonomy!r}"
    if not family.votes_name and (dataset.votes or dataset.targets != "majority"):
        key = "dataset.votes" if dataset.votes else "dataset.targets"
        yield key, f"{dataset.name} has no votes; only ferplus has"


def stored_images(facts: Facts, dataset: Dataset, preparation: Preparation) -> Iterator[Problem]:
    """Colour, crop and alignment that fit the source."""
    family = facts.family(dataset)
    if family is None:
        return
    if preparation.colour == "rgb" and family.colour == "gray":
        yield (
            "preparation.colour",
            f"{dataset.name} is gray; store gray (backbones that want RGB repeat the channel inside the model).",
        )
    if not family.has_faces and (preparation.align or preparation.margin):
        key = "preparation.align" if preparation.align else "preparation.margin"
        yield key, f"{dataset.name} comes cropped, without face boxes and landmarks"


def backbone_fits(facts: Facts, backbone: Backbone, dataset: Dataset, preparation: Preparation) -> Iterator[Problem]:
    """Known name, image at least the smallest size, weights that exist for it."""
    row = CATALOG.get(backbone.name)
    if row is None:
        yield "backbone.name", f"{backbone.name!r} is not known; known: {', '.join(CATALOG)}"
        return
    family = facts.family(dataset)
    stored = preparation.size_px or (family.size_px if family else None)
    if stored and backbone.crop_px and backbone.crop_px > stored:
        yield "backbone.crop_px", f"the images have {stored} px; crop less, or null"
    size = backbone.working_px or backbone.crop_px or stored or row.smallest_px
    if size < row.smallest_px:
        keys = {"backbone.working_px": backbone.working_px, "backbone.crop_px": backbone.crop_px}
        key = next((name for name, given in keys.items() if given), "preparation.size_px")
        yield key, f"{backbone.name} needs images of at least {row.smallest_px} px, got {size}"
    if backbone.width != 1 and not row.any_width:
        yield "backbone.width", f"{backbone.name} comes in one width only; use 1.0"
    if backbone.weights == "imagenet" and not row.pretrained:
        yield "backbone.weights", f"there are no ImageNet weights for {backbone.name}; use none or a file"
    elif backbone.weights in ("imagenet", "none") or is_remote(backbone.weights):
        pass  # buckets are not asked before anything begins
    elif not Path(backbone.weights).expanduser().exists():
        yield (
            "backbone.weights",
            f"{backbone.weights}: no such file; use imagenet, none, a .weights.h5 file or a folder of them",
        )
    if backbone.weights_required and backbone.weights == "none":
        yield "backbone.weights_required", "weights are required but backbone.weights=none"


def recipe_fits(_: Facts, recipe: Recipe, backbone: Backbone) -> Iterator[Problem]:
    """At least one phase, distinct names, settings that go together, and no frozen base where there is none."""
    if not recipe.phases:
        yield "recipe.phases", "needs at least one phase"
    names = [phase.name for phase in recipe.phases]
    if len(set(names)) != len(names):
        yield "recipe.phases", f"phase names must differ, got {', '.join(names)}"
    for phase in recipe.phases:
        for problem in _phase_problems(phase):
            yield f"recipe.phases.{phase.name}", problem
    if recipe.ema and recipe.swa:
        yield "recipe.swa", "weights are averaged one way: set recipe.ema or recipe.swa to 0"
    if recipe.swa and recipe.patience:
        yield "recipe.patience", "may end the last phase before its averaging (recipe.swa) begins; set one of them to 0"
    if recipe.phases and recipe.swa > recipe.phases[-1].epochs:
        yield "recipe.swa", f"averages {recipe.swa} epochs, the last phase has {recipe.phases[-1].epochs}"
    row = CATALOG.get(backbone.name)
    from_nothing = row and not row.pretrained and backbone.weights == "none"
    if row and from_nothing and any(phase.freezes for phase in recipe.phases):
        yield (
            "recipe",
            f"{recipe.name} freezes layers; {backbone.name} has no pretrained base: use recipe={row.default_recipe}",
        )


def _phase_problems(phase: Phase) -> Iterator[str]:
    if phase.optimizer == "adam" and phase.weight_decay:
        yield "adam takes no weight_decay; use adamw"
    if phase.schedule == "constant" and phase.warmup:
        yield "a constant rate takes no warmup; use schedule: cosine or plateau"
    if phase.copies and not phase.augment:
        yield "copies of images that are not augmented are the same; leave copies out"
    if sum((phase.trainable < 1, phase.top_layers is not None, phase.from_block is not None)) > 1:
        yield "trainable, top_layers and from_block each say which layers learn; give one of them"
    if phase.copies and not (phase.head_only and phase.features == "cached"):
        yield "copies are augmented images whose features are cached; it needs trainable: 0 and features: cached"


def targets_fit(_: Facts, recipe: Recipe, dataset: Dataset, augment: Augment) -> Iterator[Problem]:
    """The loss of several valid answers is one of its own."""
    if dataset.targets != "multi_target":
        return
    if augment.mixup or augment.cutmix:
        yield "augment", "multi_target knows valid answers and no shares of them: set augment.mixup and cutmix to 0"
    if recipe.label_smoothing:
        yield "recipe.label_smoothing", "multi_target has several valid answers and cannot be smoothed; set it to 0"
    if recipe.loss != "cross_entropy":
        yield "recipe.loss", "multi_target has a loss of its own; leave recipe.loss out"


def teacher_given(_: Facts, recipe: Recipe, teacher: str | None) -> Iterator[Problem]:
    """A recipe that distils has a teacher, and a teacher has such a recipe."""
    if recipe.distill and not teacher:
        yield "teacher", f"not given, but recipe={recipe.name} learns from one: teacher=RUN, or recipe.distill=0"
    if teacher and not recipe.distill:
        yield "teacher", f"recipe={recipe.name} learns from labels alone; use recipe=distill, or set recipe.distill"


def weights_made(_: Facts, recipe: Recipe, preparation: Preparation) -> Iterator[Problem]:
    """Class weights in the loss need weights that differ."""
    if recipe.balance == "weights" and preparation.class_weights == "none":
        yield "recipe.balance", "weights, but preparation.class_weights=none makes them all 1; choose others, or none"


def augment_fits(_: Facts, augment: Augment) -> Iterator[Problem]:
    """Changes that leave a face to be seen."""
    if augment.shift + augment.zoom > 0.6:
        yield (
            "augment",
            f"shift {augment.shift:g} and zoom {augment.zoom:g} together push the face out of the image",
        )


def device_present(facts: Facts, compute: Compute) -> Iterator[Problem]:
    """A GPU that is asked for must be there."""
    if compute.device == "gpu" and not facts.gpu_present:
        yield "compute.device", "gpu was asked for, but this machine shows none; use cpu or auto"


def cluster_named(_: Facts, compute: Compute) -> Iterator[Problem]:
    """A Spark cluster is named by the address of its master."""
    if compute.spark_master is not None and not compute.spark_master.startswith("spark://"):
        yield "compute.spark_master", f"{compute.spark_master!r} is no address like spark://host:7077"


def members_known(facts: Facts, pipeline: Pipeline) -> Iterator[Problem]:
    """Members that exist, differ, and are at least two (an ensemble of one is none)."""
    seen = set()
    if len(pipeline.members) < 2:
        yield "pipeline.members", f"an ensemble needs at least 2 members, got {len(pipeline.members)}"
    for position, member in enumerate(pipeline.members):
        where = f"pipeline.members[{position}]"
        if member.backbone not in facts.backbones:
            yield (
                f"{where}.backbone",
                f"{member.backbone!r} is not known; known: {', '.join(facts.backbones)}",
            )
        if facts.recipes and member.recipe not in facts.recipes:
            yield f"{where}.recipe", f"{member.recipe!r} is not known; known: {', '.join(facts.recipes)}"
        key = (member.backbone, member.recipe, member.seed, tuple(member.overrides))
        if key in seen:
            yield where, "the same backbone, recipe and seed stand there twice"
        seen.add(key)


def pipeline_trains(_: Facts, pipeline: Pipeline, debug: Debug) -> Iterator[Problem]:
    """A profile looks at one network."""
    if debug.profile_steps:
        yield "debug", "a profile looks at one network: use `ferlab train debug=profile`"


def sweep_judged(_: Facts, sweep: Sweep) -> Iterator[Problem]:
    """Objectives that are measured, and a way to choose and to give up that goes with them."""
    for key, name in (("name", sweep.name), ("resume", sweep.resume)):
        if name is not None and not re.fullmatch(r"[\w.-]+", name):
            yield f"sweep.{key}", f"letters, digits, dot, dash and underscore alone make a sweep's name; got {name!r}"
    unknown = [one for one in sweep.objectives if one not in OBJECTIVES]
    if unknown or not sweep.objectives or len(set(sweep.objectives)) < len(sweep.objectives):
        yield "sweep.objectives", f"one or more of {', '.join(OBJECTIVES)}, each once; got {sweep.objectives}"
    if sweep.pruner != "none" and sweep.objectives != ["accuracy"]:
        yield "sweep.pruner", f"{sweep.pruner} judges by accuracy alone, the objective being that; use none"
    if sweep.sampler == "cmaes" and len(sweep.objectives) > 1:
        yield "sweep.sampler", "cmaes knows one objective; use nsga2 or tpe"


def runs_named(_: Facts, study: str | None, runs: list[str], ensemble: Combination) -> Iterator[Problem]:
    """An ensemble is made of runs by id, or of a study."""
    if not runs and not study:
        yield "runs", "must be given, or study=NAME for the finished trainings of a study"


def combination_fits(_: Facts, ensemble: Combination) -> Iterator[Problem]:
    """Weights for every class are an option of one method."""
    if ensemble.per_class and ensemble.method not in ("weighted", "auto"):
        yield "ensemble.per_class", f"only weighted (and auto) has weights for every class, not {ensemble.method}"


RULES: tuple[tuple[tuple[str, ...], Callable[..., Iterator[Problem]]], ...] = (
    (("dataset", "debug"), dataset_source),
    (("dataset",), dataset_known),
    (("dataset", "preparation"), stored_images),
    (("backbone", "dataset", "preparation"), backbone_fits),
    (("recipe", "backbone"), recipe_fits),
    (("recipe", "dataset", "augment"), targets_fit),
    (("recipe", "teacher"), teacher_given),
    (("recipe", "preparation"), weights_made),
    (("augment",), augment_fits),
    (("compute",), device_present),
    (("compute",), cluster_named),
    (("compute",), cloud_target),
    (("dataset", "compute"), raw_images_apart),
    (("recipe", "teacher", "resume", "compute"), trainable_in_cloud),
    (("sweep", "compute"), sweep_in_cloud),
    (("pipeline",), members_known),
    (("pipeline", "debug"), pipeline_trains),
    (("study", "runs", "ensemble"), runs_named),
    (("ensemble",), combination_fits),
    (("sweep",), sweep_judged),
    (("run", "model", "runtime"), model_named),
    (("format", "precision", "output"), precision_of_format),
    (("variants", "threads"), variants_known),
)
"""Nodes a rule needs, and the rule: called as ``rule(facts, *nodes)``, yields (key, problem)."""

MAY_BE_NONE = ("teacher", "resume", "study", "run", "model")
"""Nodes that a rule also needs to know of when they are not given."""
