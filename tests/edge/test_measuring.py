"""A file measured in a process of its own."""

from pathlib import Path
from typing import Any

import pytest

from ferlab.edge import measuring
from ferlab.edge.description import Description
from ferlab.edge.export import Target, export_file
from ferlab.edge.measuring import measure, peak_mb
from ferlab.errors import UserError


def test_litert_is_measured_without_tensorflow(network: Any, description: Description, tmp_path: Path) -> None:
    file = export_file(network(), description, Target("litert", "float32"), tmp_path)
    found = measure(file, 1)
    assert found.threads == 1
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms
    assert found.images_per_s == pytest.approx(1000 / found.p50_ms, rel=0.9)
    assert found.calls >= 10
    assert 20 < found.peak_mb < 0.6 * peak_mb()  # this process has TensorFlow in it


def test_a_file_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "other.tflite").write_bytes(b"x")
    with pytest.raises(UserError, match=r"other.tflite: cannot be measured .*not a model that ferlab exported"):
        measure(tmp_path / "other.tflite", 1)


def test_a_measurement_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "LONGEST_S", 0.01)
    with pytest.raises(UserError, match=r"a.tflite: cannot be measured \(not done after 0.01 s\)"):
        measure(tmp_path / "a.tflite", 1)
