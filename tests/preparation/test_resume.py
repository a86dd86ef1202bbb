"""A preparation that is killed, its driver or a worker, ends as if nothing had been and keeps what is finished."""

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ferlab.manifest import MANIFEST_NAME, REJECTED_NAME, load_complete
from ferlab.preparation import job
from ferlab.preparation.plan import WORK, Plan, lay_out, write_rows
from ferlab.preparation.prepare import Prepared
from ferlab.preparation.request import Request
from ferlab.preparation.shards import make_shard

from .conftest import SLOW, contents, folder_of, litter, python_below


@pytest.fixture
def request_of_slow(slow_images: Path, make_request: Any) -> Request:
    return make_request(slow_images, **SLOW)


def assert_whole(made: Path, expected: Prepared) -> None:
    """The same bytes as without any disturbance, and nothing else below the root."""
    assert contents(made) == contents(expected.folder)
    names = [*contents(expected.folder), MANIFEST_NAME]
    assert set(litter(made.parent)) == {f"{made.name}/{name}" for name in names}


# --- the driver


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_a_driver_that_was_stopped_goes_on_where_it_was(
    slow_images, tmp_path, start_driver, undisturbed, request_of_slow, how
):
    out = tmp_path / "out"
    first = start_driver(slow_images, out, **SLOW)
    first.wait_for_shards(2)
    first.process.send_signal(how)
    first.wait()
    finished, total = first.finished_shards(), len(undisturbed.manifest.shards)
    assert 2 <= finished < total, "it was stopped too late"
    assert load_complete(folder_of(out, request_of_slow), request_of_slow.key) is None
    again = start_driver(slow_images, out, cores=2, **SLOW).result()
    # a task that was under way may have come to its end after the driver
    assert finished <= again["kept"] < total
    assert (again["digest"], again["reused"]) == (undisturbed.manifest.digest, False)
    assert_whole(Path(again["place"]), undisturbed)


def test_what_a_killed_driver_leaves_goes_away_without_spark_too(
    slow_images, tmp_path, undisturbed, request_of_slow, run_prepare
):
    plan = planned(request_of_slow, tmp_path / "out")
    for name in plan.names:
        make_shard(plan, name)
    place = Path(plan.folder)
    left = (place.with_name(f"{place.name}.spark") / "blockmgr", place / f"{plan.names[0]}.partial-1")
    left[0].mkdir(parents=True)
    left[1].write_bytes(b"half a shard")
    made = run_prepare(request_of_slow, tmp_path / "out")
    assert made.kept == len(plan.names)
    assert_whole(made.folder, undisturbed)


# --- a worker


def kill_workers(pid: int) -> int:
    """SIGKILL the Python processes below a driver that make shards, not those that fork them; how many there were."""
    found = python_below(pid)
    daemons = {process.pid for process in found}
    killed = 0
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() in daemons:
                process.kill()
                killed += 1
    return killed


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(slow_images, tmp_path, start_driver, undisturbed):
    driver = start_driver(slow_images, tmp_path / "out", **SLOW)
    for count in (1, 3):
        driver.wait_for_shards(count)
        until = time.monotonic() + 20
        while not kill_workers(driver.process.pid):
            assert time.monotonic() < until, "no worker was at work"
    assert driver.finished_shards() < len(undisturbed.manifest.shards), "it was killed too late"
    made = driver.result()
    assert made["digest"] == undisturbed.manifest.digest
    assert_whole(Path(made["place"]), undisturbed)


# --- damage between two runs


def planned(request: Request, out: Path) -> Plan:
    """The plan of a request with all rows written, and no shard made."""
    table = request.listing(cores=1).table
    layout = lay_out(table, request.settings, request.shards)
    place = str(folder_of(out, request))
    plan = Plan(place, request.settings, layout.names, layout.sizes, request.family.exact_px)
    plan.save()
    write_rows(plan, layout.rows(table))
    return plan


def flip_a_byte(plan: Plan, name: str) -> None:
    data = bytearray(Path(plan.shard(name)).read_bytes())
    data[len(data) // 2] ^= 1
    Path(plan.shard(name)).write_bytes(data)


def cut_the_shard(plan: Plan, name: str) -> None:
    data = Path(plan.shard(name)).read_bytes()
    Path(plan.shard(name)).write_bytes(data[:-1])


def lose_the_shard(plan: Plan, name: str) -> None:
    Path(plan.shard(name)).unlink()


def cut_the_outcome(plan: Plan, name: str) -> None:
    text = Path(plan.outcome(name)).read_text()
    Path(plan.outcome(name)).write_text(text[: len(text) // 2])


def lose_a_number_of_the_outcome(plan: Plan, name: str) -> None:
    data = json.loads(Path(plan.outcome(name)).read_text())
    del data["counts"]
    Path(plan.outcome(name)).write_text(json.dumps(data))


def lose_the_outcome(plan: Plan, name: str) -> None:
    Path(plan.outcome(name)).unlink()


DAMAGES = (
    flip_a_byte, cut_the_shard, lose_the_shard, cut_the_outcome, lose_a_number_of_the_outcome, lose_the_outcome
)  # fmt: skip


def test_a_finished_shard_that_was_damaged_is_made_again(synthetic_csv, tmp_path, prepared, make_request, run_prepare):
    request = make_request(synthetic_csv)
    plan = planned(request, tmp_path / "out")
    for name in plan.names:
        make_shard(plan, name)
    for damage, name in zip(DAMAGES, plan.names, strict=False):
        damage(plan, name)
    assert [outcome.name for outcome in job.finished(plan)] == list(plan.names[len(DAMAGES) :])
    again = run_prepare(request, tmp_path / "out")
    assert again.kept == len(plan.names) - len(DAMAGES)
    assert contents(again.folder) == contents(prepared.folder)
    assert again.manifest.digest == prepared.manifest.digest
    assert not (again.folder / WORK).exists()
    assert {path.name for path in again.folder.iterdir()} == {*plan.names, MANIFEST_NAME, REJECTED_NAME}
