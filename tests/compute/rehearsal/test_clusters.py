"""Dataproc's stand-in and the real client: clusters are made by what was shipped, refused and deleted as there."""

import json

import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound

from ferlab.compute.rehearsal import service
from ferlab.compute.rehearsal.faults import Faults
from ferlab.storage import places

from .conftest import ACTION, PROJECT, REGION, wait_until

pytestmark = pytest.mark.slow


def actions(*urls: str) -> list[dict[str, str]]:
    return [{"executable_file": url} for url in urls]


def named(cloud, wanted: str) -> list[str]:
    asked = {"project_id": PROJECT, "region": REGION, "filter": wanted}
    return [cluster.cluster_name for cluster in cloud.clusters.list_clusters(request=asked)]


def test_a_cluster_is_made_by_its_actions_found_by_its_labels_and_deleted(cloud):
    url = cloud.write("setup.sh", ACTION)
    operation = cloud.create_cluster("made", initialization_actions=actions(url))
    assert operation.metadata.cluster_name == "made"
    made = operation.result(timeout=60)
    assert made.status.state.name == cloud.cluster("made").status.state.name == "RUNNING"
    assert [past.state.name for past in cloud.cluster("made").status_history] == ["CREATING"]
    assert len(list((cloud.folder / "environments").glob("*/bin/python"))) == 1
    assert (
        named(cloud, "labels.owner = made") == named(cloud, "status.state = ACTIVE AND labels.owner = made") == ["made"]
    )
    assert named(cloud, "labels.owner = other") == named(cloud, "labels.owner = made AND status.state = INACTIVE") == []
    cloud.clusters.delete_cluster(project_id=PROJECT, region=REGION, cluster_name="made").result(timeout=60)
    with pytest.raises(NotFound, match="Not found: Cluster"):
        cloud.cluster("made")


def test_a_repeated_request_makes_one_cluster(cloud):
    first = cloud.create_cluster("twice", request_id="same")
    second = cloud.create_cluster("twice", request_id="same")
    assert first.operation.name == second.operation.name
    with pytest.raises(Conflict, match="Already exists: Failed to create cluster"):
        cloud.create_cluster("twice", request_id="other")


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("Upper", {}, "must start with a lowercase letter"),
        ("ends-", {}, "cannot end with a hyphen"),
        ("a" * 52, {}, "must start with a lowercase letter"),
        ("absent", {"initialization_actions": actions("gs://rehearsed-bucket/nothing.sh")}, "does not exist"),
        ("bucketless", {"config_bucket": "no-such-bucket"}, "bucket does not exist 'no-such-bucket'"),
        ("brief", {"lifecycle_config": {"idle_delete_ttl": {"seconds": 60}}}, "between 300s and"),
    ],
)
def test_what_the_service_refuses_is_refused(cloud, name, config, words):
    with pytest.raises(BadRequest, match=words):
        cloud.create_cluster(name, **config)


def test_a_field_that_the_message_lacks_is_refused(cloud):
    path = f"{cloud.endpoints.dataproc}/v1/projects/{PROJECT}/regions/{REGION}/clusters"
    body = {"clusterName": "odd", "config": {"workers": {"numInstances": 2}}}
    told = requests.post(path, json=body, timeout=10).json()["error"]
    assert (told["code"], told["status"]) == (400, "INVALID_ARGUMENT")
    assert 'Unknown name "workers"' in told["message"]
    told = requests.post(f"{path}?request_id=x", json={"clusterName": "odd"}, timeout=10).json()["error"]
    assert 'Unknown name "request_id"' in told["message"]


def test_an_action_that_fails_leaves_a_cluster_in_error_and_its_output_in_the_bucket(cloud):
    url = cloud.write("broken.sh", "#!/bin/bash\necho no wheels here\nexit 7\n")
    with pytest.raises(GoogleAPICallError, match="Initialization action failed") as caught:
        cloud.create_cluster("broken", initialization_actions=actions(url)).result(timeout=60)
    cluster = cloud.cluster("broken")
    assert cluster.status.state.name == "ERROR"
    assert url in cluster.status.detail
    place = str(caught.value).rpartition("see output in: ")[2].strip()
    assert places.read_bytes(place) == b"no wheels here\n"
    job = {"placement": {"cluster_name": "broken"}, "pyspark_job": {"main_python_file_uri": url}}
    with pytest.raises(BadRequest, match="is in state ERROR and cannot accept jobs"):
        cloud.jobs.submit_job(project_id=PROJECT, region=REGION, job=job)


def test_a_region_without_machines_leaves_the_cluster_in_error(rehearse):
    cloud = rehearse(Faults(no_capacity=(REGION,)))
    with pytest.raises(GoogleAPICallError, match="ZONE_RESOURCE_POOL_EXHAUSTED"):
        cloud.create_cluster().result(timeout=60)
    assert cloud.cluster().status.state.name == "ERROR"
    assert cloud.cluster().status.detail == "", "its operation alone tells why"


def test_without_quota_a_cluster_is_refused(rehearse):
    cloud = rehearse(Faults(no_quota=("dataproc",)))
    workers = {"num_instances": 10, "machine_type_uri": "n2-standard-8"}
    with pytest.raises(BadRequest, match=r"Insufficient 'CPUS' quota. Requested 84\.0"):
        cloud.create_cluster(worker_config=workers, master_config={"machine_type_uri": "n2-standard-4"})
    assert named(cloud, "") == []


@pytest.mark.parametrize("field", ["idle_delete_ttl", "auto_delete_ttl"])
def test_a_cluster_is_deleted_when_its_time_is_over(rehearse, field):
    cloud = rehearse()
    cloud.create_cluster(lifecycle_config={field: {"seconds": 600}}).result(timeout=60)
    service.stop(cloud.folder)
    # as if eleven minutes had gone by
    (file,) = (cloud.folder / "state" / "clusters").glob("*.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"idle_since": record["idle_since"] - 660, "began": record["began"] - 660}))
    cloud = rehearse()
    wait_until(lambda: named(cloud, "") == [])


def test_clusters_of_one_kind_share_an_environment_also_when_made_at_once(cloud):
    url = cloud.write("slowly.sh", "sleep 1\n" + ACTION.replace("made by", "made slowly by"))
    operations = [cloud.create_cluster(name, initialization_actions=actions(url)) for name in ("left", "right")]
    uuids = [operation.result(timeout=60).cluster_uuid for operation in operations]
    outputs = [cloud.folder / "clusters" / uuid / "dataproc-initialization-script-0_output" for uuid in uuids]
    assert [output.exists() for output in outputs].count(True) == 1
