"""What cannot work on Google Cloud is said before anything is asked of it."""

from dataclasses import replace
from typing import Any

import pytest

from ferlab.config.cloud_nodes import Cloud, Cluster, Trainer
from ferlab.config.cloud_rules import cloud_target, raw_images_apart, sweep_in_cloud, trainable_in_cloud
from ferlab.config.nodes import Compute, Dataset, Recipe, Sweep

FINE = Compute(name="gcp", cloud=Cloud(bucket="ours", project="our-project"), trainer=Trainer(image="ferlab:1"))


def problems(compute: Compute) -> dict[str, str]:
    return dict(cloud_target(None, compute))


def test_a_complete_target_has_none_and_a_local_one_is_asked_nothing():
    assert problems(FINE) == {}
    assert problems(Compute(name="local")) == {}


def test_all_that_is_wrong_is_said_at_once():
    cloud = Cloud(
        project="Our Project", regions=["central"], labels=["Team=x", "ferlab=me"], network="a", subnetwork="b"
    )
    found = problems(replace(FINE, cloud=cloud, spark_master="spark://x:1"))
    below = ("project", "regions", "labels", "subnetwork", "bucket")
    assert set(found) == {*(f"compute.cloud.{name}" for name in below), "compute.spark_master"}


@pytest.mark.parametrize(
    ("raw", "prepared"),
    [
        (None, "gs://ours/raw"), (None, "gs://ours/raw/processed"), ("gs://ours/processed/raw", None),
        ("gs://ours/x", "gs://ours/x"),
    ],
)  # fmt: skip
def test_raw_and_processed_must_not_lie_in_each_other(raw, prepared):
    found = problems(replace(FINE, prepared=prepared, cloud=replace(FINE.cloud, raw=raw)))
    assert "overlap" in found["compute.prepared"]


@pytest.mark.parametrize("root", ["gs://ours/processed", "gs://ours/processed/x/", "gs://ours"])
def test_raw_images_in_a_bucket_do_not_lie_where_prepared_data_goes(root):
    def apart(root: str, compute: Compute) -> list[tuple[str, str]]:
        return list(raw_images_apart(None, Dataset(name="affectnet8", root=root), compute))

    assert dict(apart(root, FINE))["dataset.root"].startswith(root)
    assert apart(root, Compute(name="local")) == []
    assert apart("gs://ours/raw/affectnet", FINE) == []


def test_neither_raw_nor_prepared_lies_where_trainings_and_code_do():
    assert "overlap" in problems(replace(FINE, prepared="gs://ours/runs/x"))["compute.prepared"]
    raw = replace(FINE, prepared="gs://others/made", cloud=replace(FINE.cloud, raw="gs://ours"))
    assert "overlap" in problems(raw)["compute.cloud.raw"]


def test_what_a_paid_machine_would_refuse_is_said_before():
    def wrong(
        batch_size: int, teacher: str | None = None, pruner: str = "none", resume: str | None = None, **trainer: Any
    ) -> set[str]:
        compute = replace(FINE, trainer=Trainer(image="ferlab:1", **trainer))
        found = trainable_in_cloud(None, Recipe(name="x", batch_size=batch_size), teacher, resume, compute)
        return {key for key, _ in [*found, *sweep_in_cloud(None, Sweep(pruner=pruner), compute)]}

    assert wrong(128, machine="a2-highgpu-8g") == set()
    assert wrong(100, machine="a2-highgpu-8g") == {"recipe.batch_size"}
    assert wrong(128, machine="a2-highgpu-1g", replicas=3) == {"recipe.batch_size"}
    assert wrong(128, machine="n2-standard-8") == set()
    assert wrong(128, machine="a2-highgpu-1g", replicas=3, resume="abc") == set()
    assert wrong(128, teacher="abc", pruner="median") == {"teacher", "sweep.pruner"}
    assert list(sweep_in_cloud(None, Sweep(pruner="median"), Compute(name="local"))) == []


def test_names_that_begin_alike_do_not_overlap():
    assert problems(replace(FINE, prepared="gs://ours/raw-made")) == {}


@pytest.mark.parametrize(
    ("trainer", "key", "words"),
    [
        (
            Trainer(machine="a2-highgpu-2g", accelerators=4),
            "accelerators",
            "has 2, not 4; that many have a2-highgpu-4g",
        ),
        (Trainer(machine="a2-ultragpu-1g", accelerator="NVIDIA_TESLA_A100"), "accelerator", "has NVIDIA_A100_80GB"),
        (Trainer(machine="n2-standard-8", accelerators=1), "accelerators", "has 0, not 1"),
        (Trainer(machine="a2-highgpu-3g"), "machine", "is not known"),
        (Trainer(machine="n2-standrad-8"), "machine", "is not known"),
        (Trainer(machine="n1-standard-2"), "machine", "is not known"),
        (Trainer(machine="c4-standard-8"), "machine", "is not known"),
        (Trainer(network="default"), "network", "projects/NUMBER/global/networks/NAME"),
    ],
)
def test_a_machine_and_gpus_that_do_not_go_together(trainer, key, words):
    found = problems(replace(FINE, trainer=replace(trainer, image="ferlab:1")))
    assert set(found) == {f"compute.trainer.{key}"}
    assert words in found[f"compute.trainer.{key}"]


def test_a_serverless_spark_needs_its_container_and_idle_time_ends_before_the_longest():
    found = problems(replace(FINE, cluster=Cluster(serverless=True, idle_minutes=120, max_hours=1)))
    assert set(found) == {"compute.cluster.serverless_image", "compute.cluster.idle_minutes"}


@pytest.mark.parametrize("place", ["/data/processed", "gs://"])
def test_prepared_data_of_the_cloud_lies_in_a_bucket(place):
    assert "gs://BUCKET/FOLDER" in problems(replace(FINE, prepared=place))["compute.prepared"]
