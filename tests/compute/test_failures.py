"""What the services answer, told in one line; what may pass, and what stays."""

import pytest
import requests
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError

from ferlab.compute.failures import NoCapacityError, lacks_capacity, passes, told, was_preempted
from ferlab.compute.preflight import lies_in
from ferlab.compute.target import Target
from ferlab.errors import UserError

TARGET = Target("gcp", "our-project", "gs://b/raw", "gs://b/processed", "gs://b/runs", "gs://b/shipped", "me")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (api.Forbidden("Permission 'dataproc.clusters.create' denied"), "this account may not"),
        (api.Forbidden("Cloud Dataproc API has not been used in project 1 before."), "not switched on"),
        (api.NotFound("Project not found"), "project's name"),
        (api.InvalidArgument("Insufficient 'CPUS' quota. Requested 400.0, available 24.0."), "quota does not suffice"),
        (api.TooManyRequests("The following quota metrics exceed quota limits: custom_model_training_nvidia_a100_gpus"),
         "quota does not suffice"),
        (api.Unauthenticated("Request had invalid authentication credentials."), "gcloud auth"),
        (DefaultCredentialsError("none"), "gcloud auth"),
        (requests.ConnectionError("refused"), "cannot be reached"),
        (api.RetryError("late", cause=api.ServiceUnavailable("away")), "does not answer"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_with_project_region_and_what_to_do(error, words):
    line = str(told(error, TARGET, "us-central1", "create a cluster"))
    assert words in line
    assert line.startswith("create a cluster (project our-project, us-central1)")
    assert "\n" not in line


def test_a_bug_stays_a_bug():
    error = KeyError("x")
    assert told(error, TARGET, "r", "w") is error


@pytest.mark.parametrize(
    "message",
    [
        "ZONE_RESOURCE_POOL_EXHAUSTED: The zone does not have enough resources available to fulfill the request.",
        "Resources are insufficient in region: us-central1. Please try a different region.",
        "The zone 'us-central1-a' does not have enough resources available to fulfill the request",
    ],
)
def test_a_lack_of_machines_is_told_from_a_lack_of_quota(message):
    assert lacks_capacity(message)
    assert isinstance(told(api.ServiceUnavailable(message), TARGET, "r", "w"), NoCapacityError)
    assert not lacks_capacity("Insufficient 'CPUS' quota. Requested 12.0, available 8.0.")


def test_what_passes_is_repeated_and_what_stays_is_not():
    assert passes(api.ServiceUnavailable("away"))
    assert passes(api.TooManyRequests("slow down"))
    assert passes(api.TooManyRequests("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'"))
    assert passes(api.TooManyRequests("Resource has been exhausted (e.g. check quota)."))
    assert passes(requests.ConnectionError("reset"))
    assert not passes(api.TooManyRequests("The following quota metrics exceed quota limits: nvidia_a100_gpus"))
    assert not passes(api.Forbidden("no"))
    assert not passes(UserError("no"))


def test_a_preemption_is_not_a_failure_of_the_code():
    assert was_preempted("The replica workerpool0-0 was preempted.")
    assert was_preempted("The replica workerpool0-0 exited with a non-zero status of 130. To find out more")
    assert was_preempted("The replica workerpool0-0 exited with a non-zero status of 143.")
    assert not was_preempted("The replica workerpool0-0 exited with a non-zero status of 1. Look at 130")
    assert not was_preempted("The replica workerpool0-0 exited with a non-zero status of 137.")
    assert not was_preempted("The replica workerpool0-0 exited with a non-zero status of 2.")


@pytest.mark.parametrize(
    ("region", "location", "fits"),
    [
        ("us-central1", "US", True), ("europe-west4", "US", False), ("europe-west4", "EU", True),
        ("us-central1", "US-CENTRAL1", True), ("us-east1", "US-CENTRAL1", False), ("us-central1", "NAM4", True),
        ("northamerica-northeast1", "US", False), ("europe-west2", "EU", False), ("europe-west6", "EU", False),
    ],
)  # fmt: skip
def test_regions_that_a_bucket_serves(region, location, fits):
    assert lies_in(region, location) is fits
