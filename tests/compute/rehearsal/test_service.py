"""The stand-ins as a process: found again, killed, started again, ended."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from ferlab.compute.rehearsal import service
from ferlab.compute.rehearsal.faults import Faults
from ferlab.tracking.processes import is_alive

from .conftest import ACTION, PARENT, wait_until


def server_of(cloud) -> int:
    return json.loads((cloud.folder / "endpoints.json").read_text())["pid"]


def test_a_second_start_finds_the_first(rehearse):
    cloud = rehearse()
    pid = server_of(cloud)
    assert service.start(cloud.folder, Faults(latency_ms=1)) == cloud.endpoints
    assert server_of(cloud) == pid


def test_starts_at_the_same_time_make_one(tmp_path):
    code = f"""
        from pathlib import Path
        from ferlab.compute.rehearsal import service
        from ferlab.compute.rehearsal.faults import Faults
        print(service.start(Path({str(tmp_path / "shared")!r}), Faults()))
    """
    script = [sys.executable, "-c", textwrap.dedent(code)]
    starters = [subprocess.Popen(script, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        assert len({starter.communicate(timeout=60)[0] for starter in starters}) == 1
    finally:
        service.stop(tmp_path / "shared")


def test_a_training_goes_on_when_its_launcher_is_killed(tmp_path):
    folder, done = tmp_path / "rehearsal", tmp_path / "done"
    code = f"""
        import os, signal
        from pathlib import Path
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.aiplatform_v1 import JobServiceClient
        from ferlab.compute.rehearsal import service
        from ferlab.compute.rehearsal.faults import Faults

        endpoints = service.start(Path({str(folder)!r}), Faults())
        client = JobServiceClient(
            transport="rest", client_options={{"api_endpoint": endpoints.vertex}}, credentials=AnonymousCredentials()
        )
        container = {{"image_uri": "i", "command": ["python", "-c"], "args": [
            "import time, pathlib; time.sleep(2); pathlib.Path({str(done)!r}).touch()"
        ]}}
        pool = {{"machine_spec": {{"machine_type": "n1-standard-4"}}, "replica_count": 1, "container_spec": container}}
        client.create_custom_job(
            parent={PARENT!r}, custom_job={{"display_name": "x", "job_spec": {{"worker_pool_specs": [pool]}}}}
        )
        os.killpg(0, signal.SIGKILL)
    """
    script = [sys.executable, "-c", textwrap.dedent(code)]
    try:
        killed = subprocess.run(script, start_new_session=True, timeout=60, check=False)
        assert killed.returncode == -signal.SIGKILL
        wait_until(done.exists)
    finally:
        service.stop(folder)


def test_a_killed_server_finds_what_it_knew_and_what_ended_meanwhile(rehearse, tmp_path):
    cloud = rehearse()
    url = cloud.write("setup.sh", ACTION)
    cloud.create_cluster(initialization_actions=[{"executable_file": url}]).result(timeout=60)
    files = [tmp_path / name for name in ("short", "long", "failing")]
    code = "import time, pathlib; time.sleep({}); pathlib.Path({!r}).touch(); raise SystemExit({})"
    codes = [code.format(*words) for words in zip((1.5, 6, 1.5), map(str, files), (0, 0, 1), strict=True)]
    names = [cloud.create_training(code).name for code in codes]
    wait_until(lambda: all(cloud.training(name).state.name == "JOB_STATE_RUNNING" for name in names))
    os.kill(server_of(cloud), signal.SIGKILL)
    wait_until(lambda: files[0].exists() and files[2].exists())
    before = cloud.endpoints
    cloud = rehearse()
    assert cloud.endpoints == before, "jobs that are under way still talk to the same addresses"
    assert cloud.cluster().status.state.name == "RUNNING"
    assert [cloud.ended(name).state.name for name in names] == [
        "JOB_STATE_SUCCEEDED", "JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED",
    ]  # fmt: skip
    assert all(cloud.log(name).count("begins") == 1 for name in names), "none was run twice"


def test_a_job_whose_processes_vanished_with_the_server_fails(rehearse):
    cloud = rehearse()
    name = cloud.create_training("import time; time.sleep(60)").name
    wait_until(lambda: cloud.training(name).state.name == "JOB_STATE_RUNNING")
    place = cloud.folder / "jobs" / name.rpartition("/")[2] / "attempt-1" / "workerpool0-0"
    wait_until((place / "running.json").exists)
    pids = [json.loads((place / file).read_text())["pid"] for file in ("keeper.json", "running.json")]
    for pid in (server_of(cloud), *pids):
        os.kill(pid, signal.SIGKILL)
    assert rehearse().ended(name).state.name == "JOB_STATE_FAILED"


def test_stop_ends_server_and_jobs_and_keeps_what_is_written(rehearse):
    cloud = rehearse()
    name = cloud.create_training("import time; time.sleep(60)").name
    place = cloud.folder / "jobs" / name.rpartition("/")[2] / "attempt-1" / "workerpool0-0" / "running.json"
    wait_until(place.exists)
    running = json.loads(place.read_text())
    server = json.loads((cloud.folder / "endpoints.json").read_text())
    service.stop(cloud.folder)
    for ended in (server, running):
        wait_until(lambda told=ended: not is_alive(str(told["pid"]), told["began"]))
    assert rehearse().ended(name).state.name == "JOB_STATE_FAILED"


@pytest.mark.slow
def test_the_server_ends_by_itself_when_nobody_needs_it_and_no_job_runs(rehearse):
    cloud = rehearse()
    name = cloud.create_training("import time; time.sleep(4)").name
    os.kill(server_of(cloud), signal.SIGKILL)
    code = f"""
        from pathlib import Path
        from ferlab.compute.rehearsal.server import Rehearsal
        Rehearsal(Path({str(cloud.folder)!r})).run(idle_s=1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=True)
    told = json.loads(next((cloud.folder / "state" / "customJobs").iterdir()).read_text())
    assert (told["job"]["name"], told["job"]["state"]) == (name, "JOB_STATE_SUCCEEDED")
