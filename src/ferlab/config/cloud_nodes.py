"""The nodes of a config below ``compute`` that say what is asked of Google Cloud."""

from dataclasses import dataclass, field

from ferlab.config.fields import choice, number


@dataclass
class Cloud:
    """Whose project, and where.

    ``project`` None is that of the credentials. ``bucket`` holds ``raw/``, ``processed/``, ``runs/`` and ``shipped/``;
    ``raw`` is another ``gs://`` prefix for raw images. ``regions`` are tried in order where one lacks machines.
    ``service_account``: what cluster and training act as, None for the project's usual one. ``labels`` (``key=value``)
    are put on everything that is created, beside our own.
    """

    project: str | None = None
    bucket: str | None = None
    raw: str | None = None
    regions: list[str] = field(default_factory=lambda: ["us-central1"])
    service_account: str | None = None
    network: str | None = None
    subnetwork: str | None = None
    labels: list[str] = field(default_factory=list)


@dataclass
class Cluster:
    """The Spark that prepares: a Dataproc cluster that lives as long as its job, or a serverless batch.

    ``image_version``: 2.3 has Spark 3.5, 3.0 has Spark 4. ``workers`` are kept, ``secondary_workers`` may be taken away
    (``preemptibility``). Whatever happens, Google deletes the cluster ``idle_minutes`` after its last job and
    ``max_hours`` after its start. ``serverless`` needs ``serverless_image``, a container with the executors' packages.
    """

    serverless: bool = False
    serverless_image: str | None = None
    image_version: str = choice(("2.3", "3.0"), "2.3")
    master_machine: str = "n2-standard-4"
    worker_machine: str = "n2-standard-8"
    workers: int = number(2, 400, 2)
    secondary_workers: int = number(0, 48, 0)
    preemptibility: str = choice(("spot", "preemptible", "non_preemptible"), "spot")
    autoscaling_policy: str | None = None
    disk_gb: int = number(30, 64_000, 100)
    idle_minutes: float = number(5, 10_080, 10)
    max_hours: float = number(0.2, 336, 6)
    tries: int = number(1, 10, 3)


@dataclass
class Trainer:
    """The machine that trains, as a Vertex AI custom job.

    ``image``: the container that the project's Dockerfile makes. ``network``: ``projects/NUMBER/global/networks/NAME``
    of one that is peered with Vertex AI; the cluster's is ``compute.cloud.network``. ``accelerator`` and
    ``accelerators`` come with the machine; given, they must fit it. ``replicas`` machines share a training, on the JAX
    backend. ``strategy``: ``flex_start`` waits up to ``max_wait_hours`` for machines. ``tries``: how often a job is
    sent that was preempted, each time it goes on after its last epoch. ``at_once``: jobs of a pipeline under way at a
    time.
    """

    image: str | None = None
    network: str | None = None
    machine: str = "a2-highgpu-1g"
    accelerator: str | None = None
    accelerators: int | None = number(0, 16, None)
    replicas: int = number(1, 64, 1)
    strategy: str = choice(("standard", "spot", "flex_start"), "standard")
    disk_gb: int = number(100, 64_000, 200)
    max_hours: float = number(0.1, 168, 24)
    max_wait_hours: float = number(0.1, 168, 24)
    tries: int = number(1, 100, 5)
    at_once: int = number(1, 100, 4)


@dataclass
class Faults:
    """What goes wrong in a rehearsal.

    ``preempt_after_s``: seconds after which each attempt of a training is taken away; ``restarts``: how often the
    service itself starts it again, None for always; ``lost_workers``: Spark workers that are killed; ``no_capacity``:
    regions without machines; ``no_quota``: ``dataproc``, ``vertex``; ``unavailable``: requests that are answered with
    503 or 429; ``latency_ms`` of every request; ``wrong_project``: nobody may use it.
    """

    preempt_after_s: list[float] = field(default_factory=list)
    lost_workers: int = number(0, 100, 0)
    no_capacity: list[str] = field(default_factory=list)
    no_quota: list[str] = field(default_factory=list)
    unavailable: int = number(0, 100_000, 0)
    latency_ms: int = number(0, 60_000, 0)
    wrong_project: bool = False
    restarts: int | None = number(0, 100, None)
