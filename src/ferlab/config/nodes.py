"""The nodes of a config, one dataclass each: a choice under ``conf/``, or a part of one."""

from dataclasses import dataclass, field

from ferlab.config.cloud_nodes import Cloud, Cluster, Faults, Trainer
from ferlab.config.fields import REQUIRED, choice, number
from ferlab.emotions import TAXONOMIES
from ferlab.manifest import COLOURS, ENCODINGS, TARGETS, WEIGHTINGS


@dataclass
class Synthesize:
    """Draw ``count`` synthetic faces in the dataset's layout instead of reading ``root``; 0 = do not."""

    count: int = number(0, 10_000_000, 0)
    seed: int = number(0, 2**31 - 1, 0)


@dataclass
class Dataset:
    """Which images, read how, split how.

    ``layout`` is what synthetic faces are drawn in; files are recognised by themselves. ``taxonomy`` None is the usual
    one of the dataset. ``label_order`` names the taxonomy whose numbers name the class folders of a repack. ``votes``:
    the file of FERPlus votes, None for the one beside the images; ``targets``: what is trained on. ``folds`` 0 carves
    ``val_fraction``, k makes fold ``fold`` of k the validation split. ``duplicates``: what happens to equal pixels.
    ``accept_alarms``: prepare also a copy that is not what its release is; the protocol's name then says so.
    """

    name: str = REQUIRED
    layout: str | None = None
    protocol: str = REQUIRED
    root: str | None = None
    taxonomy: str | None = choice(tuple(TAXONOMIES), None)
    label_order: str | None = choice(tuple(TAXONOMIES), None)
    votes: str | None = None
    targets: str = choice(TARGETS, "majority")
    val_fraction: float = number(0.01, 0.5, 0.1)
    split_seed: int = number(0, 2**31 - 1, 0)
    folds: int = number(0, 100, 0)
    fold: int = number(0, 99, 0)
    duplicates: str = choice(("keep", "drop_train_twins", "drop_all"), "keep")
    accept_alarms: bool = False
    synthesize: Synthesize = field(default_factory=Synthesize)


@dataclass
class Preparation:
    """How records are stored; None means the dataset's native choice.

    ``margin``: added on every side of a face box, as a share of its longer side; ``align``: turn faces upright by their
    landmarks. ``shards``: how many each split has, None for as many as its size asks for. ``class_weights``: how they
    follow from the counts.
    """

    size_px: int | None = number(16, 1024, None)
    colour: str | None = choice(COLOURS, None)
    encoding: str | None = choice(ENCODINGS, None)
    margin: float = number(0.0, 1.0, 0.0)
    align: bool = False
    shards: int | None = number(1, 1_000_000, None)
    class_weights: str = choice(WEIGHTINGS, "inverse_frequency")
    max_rejected: float = number(0.0, 1.0, 0.01)


@dataclass
class Compute:
    """Where it runs.

    ``cores`` 0 means all; ``memory_gb`` is what Spark's driver gets; images that take less than half of it are trained
    on from memory, others are streamed. ``prepared``: folder or ``gs://`` prefix of the prepared datasets, None for
    ``FERLAB_HOME/prepared``. ``spark_master``: a standalone cluster (``spark://host:port``) that prepares instead of
    this machine. ``logical_devices``: so many devices are played on this machine's processor, 0 for none. What stands
    below is for targets in the cloud; ``dry_run`` prints what would be asked of it.
    """

    name: str = choice(("local", "gcp", "rehearsal"))
    cores: int = number(0, 1024, 0)
    memory_gb: float = number(1, 4096, 2)
    device: str = choice(("auto", "cpu", "gpu"), "auto")
    prepared: str | None = None
    spark_master: str | None = None
    logical_devices: int = number(0, 64, 0)
    dry_run: bool = False
    cloud: Cloud = field(default_factory=Cloud)
    cluster: Cluster = field(default_factory=Cluster)
    trainer: Trainer = field(default_factory=Trainer)
    faults: Faults = field(default_factory=Faults)

    @property
    def is_local(self) -> bool:
        """Whether everything runs on this machine, or on a Spark cluster that it can reach."""
        return self.name == "local"


@dataclass
class Backbone:
    """Which network, at which working size, from which weights (``imagenet``, ``none``, a file, a folder of files).

    ``crop_px``: the centre that the network sees, before it is brought to ``working_px``; None for the whole image.
    """

    name: str = REQUIRED
    crop_px: int | None = number(16, 1024, None)
    working_px: int | None = number(16, 1024, None)
    weights: str = "none"
    weights_required: bool = False
    dropout: float = number(0.0, 0.95, 0.3)
    width: float = number(0.1, 4.0, 1.0)


@dataclass
class Phase:
    """One stage of training.

    ``trainable``: share of the base's layers, from the top, that learn (0 = head only); instead ``top_layers``: their
    number, or ``from_block``: all layers from the first whose name begins so. ``freeze_batch_norm`` keeps
    BatchNormalization of the base as it was.
    ``augment``: how strong the augmentation is, 0 = none, 1 = as configured. A phase of the head alone runs the base
    once over the images (``features: cached``; over ``copies`` augmented versions of them, 0 = the plain images), or
    again in every step (``computed``). ``warmup``: share of the steps; ``schedule: plateau`` multiplies the rate by
    ``plateau_factor`` after ``plateau_patience`` epochs without a better one. ``clip_norm``: largest norm of the
    gradient over all weights, 0 does not clip.
    """

    name: str = REQUIRED
    epochs: int = number(1, 10_000)
    learning_rate: float = number(1e-8, 10.0)
    optimizer: str = choice(("sgd", "adam", "adamw"), "adamw")
    schedule: str = choice(("constant", "cosine", "plateau"), "cosine")
    warmup: float = number(0.0, 0.9, 0.0)
    weight_decay: float = number(0.0, 1.0, 0.0)
    clip_norm: float = number(0.0, 1e6, 0.0)
    trainable: float = number(0.0, 1.0, 1.0)
    top_layers: int | None = number(1, 100_000, None)
    from_block: str | None = None
    freeze_batch_norm: bool = False
    augment: float = number(0.0, 1.0, 1.0)
    features: str = choice(("cached", "computed"), "cached")
    copies: int = number(0, 1000, 0)
    plateau_factor: float = number(0.01, 0.99, 0.5)
    plateau_patience: int = number(1, 1000, 3)

    @property
    def head_only(self) -> bool:
        """Whether the base stays as it is."""
        return self.trainable == 0 and self.top_layers is None and self.from_block is None

    @property
    def freezes(self) -> bool:
        """Whether some layers of the base stay as they are."""
        return self.trainable < 1 or self.top_layers is not None or self.from_block is not None


@dataclass
class Recipe:
    """How a network is trained.

    ``balance``: nothing, the ``weights`` of the prepared data in the loss, or ``sampling`` that shows every class
    equally often. ``patience`` 0 never stops a phase early. ``ema``: momentum of the weights' exponential moving
    average, 0 for none; ``swa``: epochs at the end of the last phase whose weights are averaged, 0 for none; averaged
    weights are those that are validated and kept. ``sharpness``: rho of sharpness-aware minimisation, 0 for none.
    ``rate_batch``: the batch size that the learning rates are meant for, another one scales them; 0 does not scale.
    ``affect``: weight of the error of valence and arousal, which a second head then learns; 0 for none.
    ``distill``: share of the teacher's answers in what is learned, the rest is the labels'; 0 for none.
    ``distill_temperature`` softens the teacher's answers and the student's where they are compared.
    """

    name: str = REQUIRED
    phases: list[Phase] = field(default_factory=list)
    batch_size: int = number(1, 65536, 128)
    rate_batch: int = number(0, 65536, 0)
    loss: str = choice(("cross_entropy", "focal"), "cross_entropy")
    focal_gamma: float = number(0.0, 10.0, 2.0)
    label_smoothing: float = number(0.0, 0.9, 0.0)
    balance: str = choice(("none", "weights", "sampling"), "none")
    patience: int = number(0, 10_000, 0)
    precision: str = choice(("float32", "mixed_bfloat16", "auto"), "auto")
    ema: float = number(0.0, 0.99999, 0.0)
    swa: int = number(0, 10_000, 0)
    sharpness: float = number(0.0, 10.0, 0.0)
    affect: float = number(0.0, 100.0, 0.0)
    distill: float = number(0.0, 1.0, 0.0)
    distill_temperature: float = number(0.1, 100.0, 4.0)


@dataclass
class Augment:
    """Random changes of training images. Angles in degrees, shift and zoom as shares of the image.

    ``erase``: probability of a rectangle of noise, at most ``erase_area`` of the image. ``randaugment``: operations of
    RandAugment per image, at ``magnitude`` in 0..1. ``mixup`` and ``cutmix``: alpha of the share, 0 for none.
    """

    name: str = REQUIRED
    flip: bool = False
    rotation_deg: float = number(0, 180, 0)
    shift: float = number(0, 0.5, 0)
    zoom: float = number(0, 0.5, 0)
    brightness: float = number(0, 1, 0)
    contrast: float = number(0, 1, 0)
    erase: float = number(0, 1, 0)
    erase_area: float = number(0, 0.5, 0.2)
    randaugment: int = number(0, 9, 0)
    magnitude: float = number(0, 1, 0.5)
    mixup: float = number(0, 10, 0)
    cutmix: float = number(0, 10, 0)


@dataclass
class Sweep:
    """How ``ferlab train -m`` names, chooses and judges its jobs.

    ``name`` of the sweep's own run, None for one made of study and time; ``resume`` goes on with the sweep of that
    name. ``objectives``: metrics of validation, or costs, that a trial is judged by; the first one says which job is
    best. The rest is for ``hydra/sweeper=ferlab_optuna``: it ends after ``trials``, or starts none after ``minutes``;
    a trial is trained with ``seeds`` seeds in turn and judged by their mean. ``pruner`` gives trials up that have done
    worse than others after as many epochs, not before ``startup_epochs`` are over, ``median`` not before
    ``startup_trials`` are through, which ``tpe`` draws at random.
    ``seed`` is the sampler's. ``storage``: address of a database for the study, None for a file beside the store.
    """

    name: str | None = None
    resume: str | None = None
    objectives: list[str] = field(default_factory=lambda: ["accuracy"])
    trials: int = number(1, 100_000, 20)
    minutes: float | None = number(0.01, 1e6, None)
    seeds: int = number(1, 1000, 1)
    sampler: str = choice(("tpe", "random", "cmaes", "nsga2"), "tpe")
    pruner: str = choice(("none", "median", "halving", "hyperband"), "none")
    startup_trials: int = number(1, 1000, 5)
    startup_epochs: int = number(0, 1000, 1)
    seed: int = number(0, 2**31 - 1, 0)
    storage: str | None = None


@dataclass
class Debug:
    """Limits of a debug run; 0 means no limit. ``pretrained`` false ignores ``backbone.weights``.

    ``profile_steps``: how many steps ``ferlab train`` measures instead of training; 0 trains. ``batches``: how many it
    learns by heart, each shown ``repeats`` times an epoch; 0 for the whole training split, of which ``share`` is taken.
    """

    name: str = choice(("none", "fast", "overfit", "limit", "profile"))
    max_steps: int = number(0, 10**9, 0)
    max_epochs: int = number(0, 10**9, 0)
    pretrained: bool = True
    profile_steps: int = number(0, 10_000, 0)
    batches: int = number(0, 10_000, 0)
    repeats: int = number(1, 10_000, 1)
    share: float = number(1e-6, 1.0, 1.0)

    @property
    def level(self) -> str:
        """Its name, ``custom`` where limits are given without one, empty for a run that counts."""
        if self.name != "none":
            return self.name
        limited = self.max_steps or self.max_epochs or self.profile_steps or self.batches or self.share < 1
        return "custom" if limited or not self.pretrained else ""


@dataclass
class Combination:
    """How members are combined; what is fitted is fitted on validation.

    ``mean`` and ``geometric`` means of the probabilities, ``weighted`` mean (``per_class``: weights of their own for
    every class), logistic ``stacking``, ``greedy`` selection with replacement, majority ``vote``; ``auto``: the most
    accurate of all on samples it was not fitted on. ``temperature``: each member is calibrated first. ``folds`` and
    ``seed`` divide validation for fitting on one part and judging on the other.
    """

    method: str = choice(("auto", "mean", "geometric", "weighted", "stacking", "greedy", "vote"), "auto")
    per_class: bool = False
    temperature: bool = False
    folds: int = number(2, 100, 5)
    seed: int = number(0, 2**31 - 1, 0)


@dataclass
class Intervals:
    """Bootstrap of the intervals."""

    resamples: int = number(100, 1_000_000, 2000)
    seed: int = number(0, 2**31 - 1, 0)


@dataclass
class Evaluation(Intervals):
    """Intervals and test-time augmentation.

    ``tta``: views of every image whose predictions are combined and reported beside the plain ones. ``flip``: the image
    and its mirror; ``shifts``: also moved left, right, up and down; ``ten_crop``: instead moved towards the corners.
    ``tta_shift``: how far, as a share of the side.
    """

    tta: str = choice(("none", "flip", "shifts", "ten_crop"), "none")
    tta_shift: float = number(0.0, 0.5, 1 / 12)


@dataclass
class Member:
    """One network of a pipeline; ``overrides`` are more settings of ``ferlab train``, such as ``augment=strong``."""

    backbone: str = REQUIRED
    recipe: str = REQUIRED
    seed: int = number(0, 2**31 - 1, 0)
    overrides: list[str] = field(default_factory=list)


@dataclass
class Pipeline:
    """The networks a pipeline trains; ``weights`` is what those with ImageNet weights start from, as for ``train``."""

    members: list[Member] = REQUIRED
    weights: str = "imagenet"
