"""Services that are down for a moment: how often, in which order, and what was carried out all the same."""

import time

import requests

from ferlab.compute.rehearsal import service
from ferlab.compute.rehearsal.faults import Faults

from .conftest import BUCKET, PARENT, PROJECT, REGION, pool


def body() -> dict:
    own = pool("pass")
    spec = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1}
    container = {"imageUri": "an/image", "command": own["container_spec"]["command"]}
    return {"displayName": "x", "jobSpec": {"workerPoolSpecs": [spec | {"containerSpec": container}]}}


def test_the_first_write_is_carried_out_and_refused_and_the_burst_is_over_after_three(rehearse):
    cloud = rehearse(Faults(unavailable=9))
    jobs = f"{cloud.endpoints.vertex}/v1/{PARENT}/customJobs"
    assert [requests.post(jobs, json=body(), timeout=10).status_code for _ in range(5)] == [503, 429, 503, 200, 200]
    # a client that repeats blindly has three jobs where it wanted one
    assert len(requests.get(jobs, timeout=10).json()["customJobs"]) == 3


def test_the_refusals_are_shared_among_the_services_and_end(rehearse):
    cloud = rehearse(Faults(unavailable=9))
    addresses = {
        "vertex": f"{cloud.endpoints.vertex}/v1/{PARENT}/customJobs",
        "dataproc": f"{cloud.endpoints.dataproc}/v1/projects/{PROJECT}/regions/{REGION}/clusters",
        "storage": f"{cloud.endpoints.storage}/storage/v1/b/{BUCKET}/o",
    }
    refused = {}
    for name, address in addresses.items():
        statuses = [requests.post(address, json={}, timeout=10).status_code for _ in range(20)]
        statuses += [requests.get(address, timeout=10).status_code for _ in range(20)]
        refused[name] = sum(status in (429, 503) for status in statuses)
    assert refused == {"vertex": 3, "dataproc": 3, "storage": 3}


def test_the_same_faults_handed_over_again_go_on_where_they_are(rehearse):
    cloud = rehearse(Faults(unavailable=9))
    jobs = f"{cloud.endpoints.vertex}/v1/{PARENT}/customJobs"
    refusals = [requests.post(jobs, json={}, timeout=10).status_code for _ in range(4)]
    service.start(cloud.folder, Faults(unavailable=9))
    refusals += [requests.post(jobs, json={}, timeout=10).status_code for _ in range(12)]
    assert refusals == [503, 429, 503, *[400] * 13]
    service.start(cloud.folder, Faults(unavailable=12))
    assert requests.post(jobs, json={}, timeout=10).status_code == 503


def test_a_slow_network_is_slow_and_not_a_queue(rehearse):
    from concurrent.futures import ThreadPoolExecutor

    cloud = rehearse(Faults(latency_ms=400))
    address = f"{cloud.endpoints.storage}/storage/v1/b/{BUCKET}"
    began = time.monotonic()
    with ThreadPoolExecutor(10) as several:
        answers = list(several.map(lambda _: requests.get(address, timeout=10).status_code, range(10)))
    assert answers == [200] * 10
    assert 0.4 < time.monotonic() - began < 2.5
