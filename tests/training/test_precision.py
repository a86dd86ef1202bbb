"""Precision belongs to the pair of backbone and device."""

from pathlib import Path
from typing import Any

import pytest

from ferlab.models.catalog import CPU, CPU_BF16, GPU
from ferlab.training.precision import choose_precision, cpu_kind, precision_policy

WITH = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n"
WITHOUT = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n"


@pytest.mark.parametrize(
    ("asked", "gaining", "device", "chosen"),
    [
        ("auto", {CPU_BF16, GPU}, CPU_BF16, "mixed_bfloat16"),
        ("auto", {CPU_BF16, GPU}, GPU, "mixed_bfloat16"),
        ("auto", {CPU_BF16, GPU}, CPU, "float32"),
        ("auto", {GPU}, CPU_BF16, "float32"),
        ("auto", {GPU}, GPU, "mixed_bfloat16"),
        ("auto", set(), GPU, "float32"),
        ("float32", {CPU_BF16, GPU}, GPU, "float32"),
        ("mixed_bfloat16", set(), CPU, "mixed_bfloat16"),
    ],
)
def test_precision_follows_device_and_backbone(asked: str, gaining: set[str], device: str, chosen: str) -> None:
    assert choose_precision(asked, gaining, device) == chosen


@pytest.mark.parametrize(("cpuinfo", "kind"), [(WITH, CPU_BF16), (WITHOUT, CPU), ("", CPU), (None, CPU)])
def test_the_processor_says_whether_it_multiplies_bfloat16(tmp_path: Path, cpuinfo: str | None, kind: str) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    assert cpu_kind(file) == kind


def test_devices_are_called_as_the_catalog_of_backbones_calls_them() -> None:
    from ferlab.models.catalog import CATALOG

    named = set().union(*(row.bfloat16 for row in CATALOG.values()))
    assert named <= {CPU, CPU_BF16, GPU}
    assert {CPU_BF16, GPU} <= named


def test_policy_ends_with_its_block_also_after_an_error(tf: Any) -> None:
    import keras

    before = keras.config.dtype_policy().name

    def fail_inside() -> None:
        with precision_policy("mixed_bfloat16"):
            assert keras.layers.Dense(1).compute_dtype == "bfloat16"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert keras.config.dtype_policy().name == before
