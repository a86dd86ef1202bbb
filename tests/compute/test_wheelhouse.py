"""What is shipped to a cluster: whole or absent, the versions of our lock, refused in one line without a network."""

import importlib.util
import re
from pathlib import Path

import pytest

from ferlab.compute.wheelhouse import LOCK_NAME, SETUP, make_wheelhouse
from ferlab.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def offline(probe_folder, monkeypatch) -> Path:
    """pip has the probe's wheel and nothing else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(probe_folder))
    return probe_folder


def test_a_wheelhouse_holds_the_wheels_of_its_lock_for_linux_and_the_action_that_installs_them(offline, tmp_path):
    made = make_wheelhouse(offline / "lock", tmp_path / "made")
    assert {file.name for file in made.iterdir()} == {LOCK_NAME, SETUP.name, "shipped_probe-1.0-py3-none-any.whl"}
    assert re.fullmatch(r"shipped-probe==1\.0 --hash=sha256:[0-9a-f]{64}\n", (made / LOCK_NAME).read_text())
    assert (made / SETUP.name).read_bytes() == SETUP.read_bytes()


def test_it_is_made_once(offline, tmp_path, monkeypatch):
    made = make_wheelhouse(offline / "lock", tmp_path / "made")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert make_wheelhouse(offline / "lock", tmp_path / "made") == made


def test_the_lock_is_read_for_the_python_of_the_nodes(offline, tmp_path):
    for_312 = (offline / "lock").read_text().replace("< '3.12'", ">= '3.12'")
    (offline / "lock").write_text(for_312)
    made = make_wheelhouse(offline / "lock", tmp_path / "made", "3.12")
    assert made.name.endswith("-py3.12")
    assert (made / "shipped_probe-1.0-py3-none-any.whl").exists()


def test_a_wheel_of_another_content_than_the_lock_names_is_refused_and_nothing_is_left(offline, tmp_path):
    lock = offline / "lock"
    lock.write_text(re.sub(r"sha256:\w{8}", "sha256:00000000", lock.read_text()))
    with pytest.raises(UserError, match=r"pip cannot download it for Python 3\.11 on Linux"):
        make_wheelhouse(lock, tmp_path / "made")
    assert [file.name for file in (tmp_path / "made").iterdir() if file.is_dir()] == []


def test_without_a_network_the_error_says_so(probe_folder, tmp_path, monkeypatch):
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/none")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(UserError, match=r"must be downloaded once, and there is no network") as caught:
        make_wheelhouse(probe_folder / "lock", tmp_path / "made")
    assert "\n" not in str(caught.value)


def test_without_pip_the_error_says_how_to_get_it(offline, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "pip" else found(name, *more))
    with pytest.raises(UserError, match="python -m ensurepip"):
        make_wheelhouse(offline / "lock", tmp_path / "made")


@pytest.mark.parametrize("lock", ["executors.lock", "serving.lock"])
def test_a_lock_of_other_machines_has_the_versions_of_ours(lock):
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+(?: ; .*?)?) \\$", (REPOSITORY / name).read_text(), re.MULTILINE))

    def versions(name: str) -> set[str]:
        return {pin.partition(" ;")[0] for pin in pins(name)}

    assert versions(lock) <= versions("requirements.lock")
    packages = {pin.partition("==")[0] for pin in versions(lock)}
    assert {"numpy", "pyarrow", "opencv-python-headless", "pillow", "google-crc32c"} <= packages
    assert not {"tensorflow", "keras", "pyspark", "mlflow"} & packages
    assert "http" not in (REPOSITORY / lock).read_text()
