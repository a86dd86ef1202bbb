"""Cloud Storage's stand-in beyond what its emulator has: the real client meets preconditions, locations, a kill."""

import os
import signal

import pytest
from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed
from google.cloud import storage

from ferlab.compute.rehearsal.faults import Faults
from ferlab.storage import objects, places

from .conftest import BUCKET, PROJECT
from .test_service import server_of


@pytest.fixture
def bucket(cloud) -> storage.Bucket:
    return storage.Client(project=PROJECT).bucket(BUCKET)


@pytest.mark.parametrize("size", [5, 9 << 20], ids=["in one request", "in parts"])
def test_an_object_that_is_there_is_not_overwritten_where_none_must_be(bucket, size):
    blob = bucket.blob(f"new-{size}")
    blob.upload_from_string(b"a" * size, if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob(blob.name).upload_from_string(b"b" * size, if_generation_match=0)
    assert bucket.blob(blob.name).download_as_bytes() == b"a" * size


def test_generations_tell_who_came_first(bucket):
    first = bucket.blob("generations")
    first.upload_from_string(b"first")
    bucket.blob("generations").upload_from_string(b"second")
    with pytest.raises(PreconditionFailed):
        first.upload_from_string(b"third", if_generation_match=first.generation)
    with pytest.raises(PreconditionFailed):
        first.delete(if_generation_match=first.generation)
    bucket.blob("generations").delete(if_generation_match=bucket.get_blob("generations").generation)
    assert bucket.get_blob("generations") is None


def test_buckets_have_a_location_and_valid_names(cloud):
    client = storage.Client(project=PROJECT)
    client.create_bucket("in-europe", location="europe-west4")
    assert client.get_bucket("in-europe").location == "EUROPE-WEST4"
    assert client.create_bucket("anywhere").location == "US"
    with pytest.raises(Conflict):
        client.create_bucket("in-europe", location="us-central1")
    client.get_bucket("in-europe").delete()
    with pytest.raises(NotFound, match="The specified bucket does not exist"):
        client.get_bucket("in-europe")


def test_objects_survive_a_kill_of_the_server(rehearse):
    cloud = rehearse()
    # a name that would be a folder, and one longer than a file's
    contents = {"a": b"1", "a/b": b"2", "x" * 400: b"3", "a/gone": b"4"}
    for name, content in contents.items():
        places.write_bytes(f"gs://{BUCKET}/{name}", content)
    places.remove(f"gs://{BUCKET}/a/gone")
    places.write_bytes(f"gs://{BUCKET}/a", b"newer")
    os.kill(server_of(cloud), signal.SIGKILL)
    cloud = rehearse()
    assert places.names_below(f"gs://{BUCKET}") == ["a", "a/b", "x" * 400]
    assert places.read_bytes(f"gs://{BUCKET}/a") == b"newer"
    assert places.read_bytes(f"gs://{BUCKET}/{'x' * 400}") == b"3"
    assert objects.stated(f"gs://{BUCKET}/a") == (5, objects.stated(f"gs://{BUCKET}/a")[1])
    assert storage.Client(project=PROJECT).get_bucket(BUCKET).location == "US-CENTRAL1"


def test_files_arrive_whole_through_bursts_of_refusals(rehearse, tmp_path):
    rehearse(Faults(unavailable=18))
    files = [tmp_path / f"{number}.bin" for number in range(20)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 1000)
    objects.put_all((file, f"gs://{BUCKET}/in/{file.name}") for file in files)
    objects.fetch_all((f"gs://{BUCKET}/in/{file.name}", tmp_path / "back" / file.name) for file in files)
    assert all((tmp_path / "back" / file.name).read_bytes() == file.read_bytes() for file in files)
