"""Quotas of GPUs and processors: the right one is looked up, and what does not suffice is said with what to do."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud.cloudquotas_v1 import DimensionsInfo, QuotaDetails, QuotaInfo

from ferlab.compute.clients import Clients
from ferlab.compute.quotas import VERTEX, check_gpu_quota, check_processor_quota, gpu_metric, limit
from ferlab.compute.rehearsal.faults import Faults
from ferlab.compute.target import Target
from ferlab.config.cloud_nodes import Cloud, Cluster, Trainer
from ferlab.errors import UserError

from .conftest import PROJECT, REGION

A100 = "aiplatform.googleapis.com/custom_model_training_nvidia_a100_gpus"


def info(metric: str, *parts: tuple[int, dict[str, str], list[str]]) -> QuotaInfo:
    infos = [
        DimensionsInfo(details=QuotaDetails(value=value), dimensions=dimensions, applicable_locations=places)
        for value, dimensions, places in parts
    ]
    return QuotaInfo(metric=metric, dimensions_infos=infos)


@pytest.mark.parametrize(
    ("machine", "strategy", "metric"),
    [
        ("a2-highgpu-8g", "standard", A100),
        ("a2-highgpu-1g", "spot", "aiplatform.googleapis.com/custom_model_training_preemptible_nvidia_a100_gpus"),
        ("a2-ultragpu-2g", "standard", "aiplatform.googleapis.com/custom_model_training_nvidia_a100_80gb_gpus"),
        ("a2-highgpu-1g", "flex_start", None),
        ("n1-standard-8", "standard", None),
    ],
)
def test_the_quota_is_that_of_kind_and_strategy(machine, strategy, metric):
    assert gpu_metric(Trainer(machine=machine, strategy=strategy)) == metric


def test_a_value_of_the_region_comes_before_one_of_all_regions():
    infos = [
        info("other", (9, {}, [])),
        info(A100, (0, {}, ["us-east1", "europe-west4"]), (8, {"region": "us-central1"}, ["us-central1"])),
    ]
    assert limit(infos, A100, "us-central1") == 8
    assert limit(infos, A100, "us-east1") == 0
    assert limit(infos, A100, "asia-east1") is None
    assert limit([info(A100, (3, {}, []))], A100, "asia-east1") == 3
    assert limit([info(A100, (3, {"region": "us-central1"}, []))], A100, "asia-east1") is None


@dataclass
class Told:
    """Cloud Quotas with a fixed answer, which is all that is played here."""

    infos: list[Any] = field(default_factory=list)
    error: Exception | None = None
    target: Target = field(default_factory=lambda: _target(None))

    def quotas(self, _service: str) -> list[Any]:
        if self.error:
            raise self.error
        return self.infos


def _target(endpoints: Any) -> Target:
    places = ("gs://b/raw", "gs://b/processed", "gs://b/runs", "gs://b/shipped")
    return Target("gcp", PROJECT, *places, "me", **({"endpoints": endpoints} if endpoints else {}))


def test_trainings_at_once_count_together():
    cloud, warned = Cloud(), []
    told = Told([info(A100, (8, {}, []))])
    check_gpu_quota(told, cloud, Trainer(machine="a2-highgpu-4g", at_once=2), 9, warned.append)
    check_gpu_quota(told, cloud, Trainer(machine="a2-highgpu-4g", at_once=4), 2, warned.append)
    with pytest.raises(UserError, match=r"may use 8 of the 12 GPUs.*compute\.trainer\.at_once=2\.") as said:
        check_gpu_quota(told, cloud, Trainer(machine="a2-highgpu-4g", at_once=3), 3, warned.append)
    assert "\n" not in str(said.value)
    with pytest.raises(UserError, match=r"may use 8 of the 16 GPUs .*quotas\.$"):
        check_gpu_quota(told, cloud, Trainer(machine="a2-highgpu-8g", replicas=2), 1, warned.append)
    unlimited = Told([info(A100, (-1, {}, []))])
    check_gpu_quota(unlimited, cloud, Trainer(machine="a2-megagpu-16g", replicas=64), 1, warned.append)
    assert not warned


def test_every_region_that_may_be_tried_counts():
    told = Told([info(A100, (1, {"region": "us-central1"}, []), (0, {"region": "us-east1"}, []))])
    check_gpu_quota(told, Cloud(regions=["us-central1"]), Trainer(), 1, print)
    with pytest.raises(UserError, match="may use 0 of the 1 GPUs in us-east1"):
        check_gpu_quota(told, Cloud(regions=["us-central1", "us-east1"]), Trainer(), 1, print)


def test_quotas_that_cannot_be_read_are_said_and_stop_nothing():
    warned: list[str] = []
    check_gpu_quota(Told(error=UserError("read quotas: this account may not")), Cloud(), Trainer(), 1, warned.append)
    assert warned == ["the quota of GPUs is not checked: read quotas: this account may not"]


def test_nothing_is_asked_when_nothing_is_trained():
    check_gpu_quota(Told(error=Forbidden("never asked")), Cloud(), Trainer(), 0, print)


def test_the_real_client_reads_the_stand_in(rehearse):
    clients = Clients(_target(rehearse(Faults()).endpoints))
    check_gpu_quota(
        clients, Cloud(regions=[REGION]), Trainer(machine="a2-ultragpu-8g", strategy="spot"), 3, pytest.fail
    )
    clients = Clients(_target(rehearse(Faults(no_quota=("vertex",))).endpoints))
    with pytest.raises(UserError, match="may use 0 of the 8 GPUs in us-central1"):
        check_gpu_quota(clients, Cloud(regions=[REGION]), Trainer(machine="a2-ultragpu-8g"), 1, pytest.fail)


def test_a_project_of_somebody_else_is_refused_by_every_service(rehearse):
    clients = Clients(_target(rehearse(Faults(wrong_project=True)).endpoints))
    for asked in (
        lambda: clients.clusters(REGION, ""),
        lambda: clients.custom_jobs(REGION, ""),
        lambda: clients.quotas(VERTEX),
    ):
        with pytest.raises(UserError, match=f"this account may not .*resource project {PROJECT}"):
            asked()


CPUS = "compute.googleapis.com/cpus"
N2, C3, SPOT_CPUS = (f"compute.googleapis.com/{name}_cpus" for name in ("n2", "c3", "preemptible"))
ALL = "compute.googleapis.com/cpus_all_regions"


@pytest.mark.parametrize(
    ("granted", "cluster", "said"),
    [
        ([(N2, 20)], {}, None),
        ([(N2, 19)], {}, r"may use 19 of the 20 processors in us-central1 \(compute\.googleapis\.com/n2_cpus\)"),
        ([(N2, 20), (ALL, 12)], {}, "may use 12 of the 20 processors .*cpus_all_regions"),
        ([(N2, -1), (ALL, 20)], {}, None),
        ([(N2, 36)], {"secondary_workers": 2}, None),
        ([(N2, 35), (SPOT_CPUS, 0)], {"secondary_workers": 2}, "may use 35 of the 36 processors .*n2_cpus"),
        ([(N2, 20), (SPOT_CPUS, 16)], {"secondary_workers": 2}, None),
        ([(N2, 20), (SPOT_CPUS, 15)], {"secondary_workers": 2}, "may use 15 of the 16 processors .*preemptible_cpus"),
        (
            [(N2, 20), (SPOT_CPUS, 99)],
            {"secondary_workers": 2, "preemptibility": "non_preemptible"},
            "may use 20 of the 36 processors .*n2_cpus",
        ),
        ([(CPUS, 8), (N2, 0)], {"master_machine": "n1-standard-4", "worker_machine": "e2-highmem-2"}, None),
        ([(C3, 7)], {"worker_machine": "c3-standard-4-lssd"}, "may use 7 of the 8 processors"),
        ([(N2, 0)], {"serverless": True}, None),
        ([(N2, 0)], {"master_machine": "a-word", "worker_machine": "n4-custom-4-8192"}, None),
    ],
)  # fmt: skip
def test_the_processors_of_a_cluster_count_for_their_family_and_those_that_may_be_taken_away_apart(
    granted, cluster, said
):
    told = Told([info(metric, (value, {}, ["global"] if metric == ALL else [])) for metric, value in granted])
    if said is None:
        check_processor_quota(told, Cloud(regions=[REGION]), Cluster(**cluster), pytest.fail)
    else:
        with pytest.raises(UserError, match=said):
            check_processor_quota(told, Cloud(regions=[REGION]), Cluster(**cluster), pytest.fail)


def test_the_real_client_reads_the_processors_of_the_stand_in(rehearse):
    warned: list[str] = []
    check_processor_quota(
        Clients(_target(rehearse(Faults()).endpoints)), Cloud(regions=[REGION]), Cluster(workers=50), warned.append
    )
    clients = Clients(_target(rehearse(Faults(no_quota=("dataproc",))).endpoints))
    with pytest.raises(UserError, match="may use 0 of the 20 processors in us-central1"):
        check_processor_quota(clients, Cloud(regions=[REGION]), Cluster(), warned.append)
    check_processor_quota(Told(error=UserError("read quotas: no")), Cloud(), Cluster(), warned.append)
    assert warned == ["the quota of processors is not checked: read quotas: no"]
