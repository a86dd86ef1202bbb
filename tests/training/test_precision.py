"""Precision belongs to the pair of backbone and processor."""

from pathlib import Path
from typing import Any

import pytest

from ferlab.training.precision import choose_precision, precision_policy

WITH = "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n"
WITHOUT = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n"


@pytest.mark.parametrize(
    ("asked", "gains", "cpuinfo", "chosen"),
    [
        ("auto", True, WITH, "mixed_bfloat16"),
        ("auto", False, WITH, "float32"),
        ("auto", True, WITHOUT, "float32"),
        ("auto", True, None, "float32"),
        ("auto", True, "", "float32"),
        ("float32", True, WITH, "float32"),
        ("mixed_bfloat16", False, WITHOUT, "mixed_bfloat16"),
    ],
)
def test_precision_follows_processor_and_backbone(
    tmp_path: Path, asked: str, gains: bool, cpuinfo: str | None, chosen: str
) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    assert choose_precision(asked, gains, file) == chosen


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
