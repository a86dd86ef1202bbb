"""The schema: one dataclass per command. Hydra's files must fit it; ``validate`` checks that they do."""

from dataclasses import dataclass, field

from ferlab.config.fields import REQUIRED, choice, number
from ferlab.config.nodes import (
    Augment,
    Backbone,
    Combination,
    Compute,
    Dataset,
    Debug,
    Evaluation,
    Intervals,
    Pipeline,
    Preparation,
    Recipe,
)


@dataclass
class Common:
    """What every command has: the study (MLflow experiment) its run goes to."""

    study: str = REQUIRED


@dataclass
class PrepareConfig(Common):
    """``ferlab prepare``."""

    dataset: Dataset = REQUIRED
    preparation: Preparation = REQUIRED
    compute: Compute = REQUIRED
    debug: Debug = REQUIRED


@dataclass
class TrainConfig(PrepareConfig):
    """``ferlab train``: ``resume`` is the id of an interrupted run to go on with."""

    backbone: Backbone = REQUIRED
    recipe: Recipe = REQUIRED
    augment: Augment = REQUIRED
    seed: int = number(0, 2**31 - 1, 0)
    deterministic: bool = False
    resume: str | None = None


@dataclass
class EnsembleConfig:
    """``ferlab ensemble``: the ids of at least two training runs. Without ``study`` it joins that of the first run."""

    study: str | None = None
    runs: list[str] = REQUIRED
    ensemble: Combination = REQUIRED
    compute: Compute = REQUIRED


@dataclass
class EvaluateConfig:
    """``ferlab evaluate``: one run, one split. Without ``study`` it joins that of the run."""

    study: str | None = None
    run: str = REQUIRED
    split: str = choice(("validation", "test"), "test")
    evaluation: Evaluation = REQUIRED
    compute: Compute = REQUIRED


@dataclass
class CompareConfig(Common):
    """``ferlab compare``: the runs named, or all of ``study``."""

    runs: list[str] = field(default_factory=list)
    evaluation: Intervals = REQUIRED


@dataclass
class PipelineConfig(PrepareConfig):
    """``ferlab pipeline``."""

    pipeline: Pipeline = REQUIRED
    augment: Augment = REQUIRED
    ensemble: Combination = REQUIRED
    evaluation: Evaluation = REQUIRED
    deterministic: bool = False


@dataclass
class VerifyConfig(Common):
    """``ferlab verify``: compare with ``signature`` instead of those that ferlab brings; write the copy's own one."""

    dataset: Dataset = REQUIRED
    compute: Compute = REQUIRED
    debug: Debug = REQUIRED
    signature: str | None = None
    write_signature: str | None = None


@dataclass
class SynthConfig:
    """``ferlab synth``: ``count`` drawn faces in a layout; ``size_px`` None is the layout's own size."""

    layout: str = REQUIRED
    out: str = REQUIRED
    count: int = number(70, 10_000_000)
    seed: int = number(0, 2**31 - 1, 0)
    size_px: int | None = number(16, 1024, None)
    compute: Compute = REQUIRED


@dataclass
class DoctorConfig:
    """``ferlab doctor`` has no settings."""


@dataclass
class UiConfig:
    """``ferlab ui``."""

    host: str = "127.0.0.1"
    port: int = number(1, 65535, 5000)
