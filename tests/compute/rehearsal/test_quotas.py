"""Quotas of GPUs: the right one is looked up, and what does not suffice is said with what to do."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud.cloudquotas_v1 import DimensionsInfo, QuotaDetails, QuotaInfo

from ferlab.compute.clients import Clients
from ferlab.compute.quotas import check_gpu_quota, gpu_metric, limit
from ferlab.compute.rehearsal.faults import Faults
from ferlab.compute.target import Target
from ferlab.config.cloud_nodes import Cloud, Trainer
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

    def vertex_quotas(self) -> list[Any]:
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
        clients.vertex_quotas,
    ):
        with pytest.raises(UserError, match=f"this account may not .*resource project {PROJECT}"):
            asked()
