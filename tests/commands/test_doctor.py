"""``ferlab doctor``: which backend computes, and what to do when it cannot."""

import importlib.util
from pathlib import Path

import pytest

from ferlab.commands.doctor import run
from ferlab.commands.launch import Context
from ferlab.config.schema import DoctorConfig
from ferlab.errors import UserError


def backend_check(home: Path) -> dict[str, str]:
    found = run(DoctorConfig(), Context("doctor", home, {}))["checks"]
    return next(check for check in found if check["name"] == "Keras backend")


def test_the_backend_is_named_with_its_version(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    check = backend_check(home)
    assert check["level"] == "ok"
    assert check["text"].startswith("tensorflow 2.")


@pytest.mark.slow
def test_jax_computes_where_it_is_asked_for(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jax-9.8.7.dist-info").mkdir()
    (tmp_path / "jax-9.8.7.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert backend_check(home) == {"name": "Keras backend", "level": "ok", "text": "jax 9.8.7"}


@pytest.mark.skipif(importlib.util.find_spec("jax") is not None, reason="JAX is installed here")
def test_a_backend_that_is_not_installed_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(UserError, match="Keras backend: jax is not installed; run `pip install jax`"):
        backend_check(home)


def test_a_backend_that_ferlab_does_not_know_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(UserError, match="KERAS_BACKEND=torch; ferlab runs on tensorflow and jax"):
        backend_check(home)
