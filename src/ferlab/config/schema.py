"""The schema: one dataclass per command. Hydra's files must fit it; ``validate`` checks that they do."""

from dataclasses import dataclass, field

from ferlab.config.edge_nodes import PRECISIONS, Faces, Parity, VideoScoring
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
    Sweep,
)

SPLITS = ("validation", "test")
"""What can be scored; train is what was learned from."""


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
    """``ferlab train``: ``resume`` is an interrupted run to go on with, ``teacher`` a finished one to learn from.

    ``from_run``: the run whose settings were taken where the command line had no others.
    """

    backbone: Backbone = REQUIRED
    recipe: Recipe = REQUIRED
    augment: Augment = REQUIRED
    seed: int = number(0, 2**31 - 1, 0)
    deterministic: bool = False
    resume: str | None = None
    teacher: str | None = None
    from_run: str | None = None
    sweep: Sweep = field(default_factory=Sweep)


@dataclass
class EnsembleConfig:
    """``ferlab ensemble``: the ids of at least two runs, or else the finished trainings of ``study``.

    ``top`` takes so many of them: the most accurate on validation, or with ``diverse`` those that add most to the ones
    taken before. Runs by id join the study of the first where ``study`` is not given.
    """

    study: str | None = None
    runs: list[str] = field(default_factory=list)
    ensemble: Combination = REQUIRED
    compute: Compute = REQUIRED
    top: int | None = number(2, 10_000, None)
    diverse: bool = False


@dataclass
class EvaluateConfig:
    """``ferlab evaluate``: one run, or a file of another tool's predictions on ``dataset``; one split.

    Without ``study`` a run is evaluated in its own; ``name`` is the tool's, by default the file's. ``baseline``: a run
    with stored predictions on the split, which the result is tested against.
    """

    study: str | None = None
    run: str | None = None
    split: str = choice(SPLITS, "test")
    evaluation: Evaluation = REQUIRED
    compute: Compute = REQUIRED
    predictions: str | None = None
    name: str | None = None
    dataset: Dataset | None = None
    preparation: Preparation | None = None
    debug: Debug | None = None
    baseline: str | None = None


@dataclass
class CompareConfig(Common):
    """``ferlab compare``: the runs named, or all of ``study``, tested against ``baseline`` (None: the best)."""

    runs: list[str] = field(default_factory=list)
    split: str = choice(SPLITS, "validation")
    baseline: str | None = None
    evaluation: Intervals = REQUIRED


@dataclass
class RegisterConfig:
    """``ferlab register``: a run's model as a new version of ``model``; ``metric`` decides about the champion.

    ``metric`` and ``margin`` are declared with the first version; None is what was declared, else accuracy and 0.01.
    Others need ``redeclare``.
    """

    study: str | None = None
    run: str = REQUIRED
    model: str = REQUIRED
    metric: str | None = choice(("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc"), None)
    margin: float | None = number(0.0, 1.0, None)
    evaluation: Intervals = REQUIRED
    compute: Compute = REQUIRED
    redeclare: bool = False


@dataclass
class ExportConfig:
    """``ferlab export``: a run's model as one file of ``format``, in ``precision``, proved equal within ``parity``.

    ``output`` uint8 gives an int8 file's quantised probabilities. ``calibration``: validation images that int8 takes
    the ranges of activations from. ``abstain_below``: stands in the file; an answer with a smaller largest probability
    counts as none; None for what validation asks for. ``out``: a folder for a copy of the file.
    """

    study: str | None = None
    run: str = REQUIRED
    format: str = choice(tuple(PRECISIONS), "litert")
    precision: str = choice(PRECISIONS["litert"], "float32")
    output: str = choice(("float32", "uint8"), "float32")
    calibration: int = number(1, 100_000, 256)
    abstain_below: float | None = number(0.0, 1.0, None)
    out: str | None = None
    parity: Parity = REQUIRED
    compute: Compute = REQUIRED


@dataclass
class BenchmarkConfig:
    """``ferlab benchmark``: speed, size and memory of the models of ``run``, or of several ``runs``, on the processor.

    ``variants``: formats, each with its precision. ``threads``: how many one answer may use, tried in turn; 0 is all
    cores.
    """

    study: str | None = None
    run: str | None = None
    runs: list[str] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    calibration: int = number(1, 100_000, 256)
    seed: int = number(0, 2**31 - 1, 0)
    compute: Compute = REQUIRED


@dataclass
class PredictConfig:
    """``ferlab predict``: the model of ``run`` or of a file ``model`` on a photo, a folder, a video or a camera.

    ``runtime``: ``keras``, or the format of a file that was exported from the run. ``out``: the folder of the answers,
    None for one in FERLAB_HOME. ``abstain_below`` None: what the model says, or validation asks for.
    """

    run: str | None = None
    model: str | None = None
    runtime: str = "keras"
    input: str = REQUIRED
    out: str | None = None
    annotate: bool = False
    abstain_below: float | None = number(0.0, 1.0, None)
    faces: Faces = field(default_factory=Faces)
    video: VideoScoring = field(default_factory=VideoScoring)
    compute: Compute = REQUIRED


@dataclass
class DemoConfig:
    """``ferlab demo``: a page on this machine that shows what a model says of a picture, and its JSON endpoint.

    ``hosts``: names that a browser may use for it, beside this machine's own. ``waiting``: how many requests may wait.
    """

    run: str | None = None
    model: str | None = None
    runtime: str = "keras"
    host: str = "127.0.0.1"
    port: int = number(0, 65535, 8090)
    hosts: list[str] = field(default_factory=list)
    max_mb: int = number(1, 200, 10)
    max_megapixels: int = number(1, 100, 25)
    waiting: int = number(1, 10_000, 32)
    abstain_below: float | None = number(0.0, 1.0, None)
    faces: Faces = field(default_factory=Faces)
    compute: Compute = REQUIRED


@dataclass
class PipelineConfig(PrepareConfig):
    """``ferlab pipeline``."""

    pipeline: Pipeline = REQUIRED
    augment: Augment = REQUIRED
    ensemble: Combination = REQUIRED
    evaluation: Evaluation = REQUIRED
    deterministic: bool = False


@dataclass
class CloudConfig:
    """``ferlab cloud``: ``status`` of what is under way, ``sync`` of ended runs, ``clean`` to end everything."""

    compute: Compute = REQUIRED
    action: str = choice(("status", "sync", "clean"), "status")


@dataclass
class SweepConfig:
    """What a sweep needs to know of the command's config before there are jobs."""

    sweep: Sweep = field(default_factory=Sweep)


@dataclass
class ReproduceConfig:
    """``ferlab reproduce``: repeat a finished training; ``check`` compares what it was made with and trains nothing.

    ``root``, ``weights`` and ``device`` take the place of the recorded ones, ``study`` that of the new run.
    """

    run: str = REQUIRED
    check: bool = False
    study: str | None = None
    root: str | None = None
    weights: str | None = None
    device: str | None = choice(("auto", "cpu", "gpu"), None)


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
class RunsConfig:
    """``ferlab runs``: the newest ``limit`` runs that fit; or one of the actions ``show`` to ``copy_to``.

    ``where`` is a filter in MLflow's language; ``study``, ``stage``, ``status`` and ``where`` must all fit.
    """

    study: str | None = None
    stage: str | None = None
    status: str | None = choice(("finished", "failed", "killed", "running", "deleted"), None)
    where: str | None = None
    limit: int = number(1, 100_000, 20)
    show: str | None = None
    delete: list[str] = field(default_factory=list)
    restore: list[str] = field(default_factory=list)
    gc: bool = False
    copy_to: str | None = None


@dataclass
class DoctorConfig:
    """``ferlab doctor`` has no settings."""


@dataclass
class UiConfig:
    """``ferlab ui``."""

    host: str = "127.0.0.1"
    port: int = number(1, 65535, 5000)
