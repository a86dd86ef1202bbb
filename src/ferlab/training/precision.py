"""Which arithmetic a training uses: measured per backbone and device, overridable in the recipe."""

import contextlib
from collections.abc import Iterator, Set
from pathlib import Path

from ferlab.models.catalog import CPU, CPU_BF16

CPUINFO = Path("/proc/cpuinfo")


def cpu_kind(cpuinfo: Path = CPUINFO) -> str:
    """CPU_BF16 where the processor multiplies bfloat16 itself, else CPU."""
    try:
        return CPU_BF16 if "avx512_bf16" in cpuinfo.read_text(encoding="utf-8") else CPU
    except OSError:
        return CPU


def choose_precision(asked: str, gaining: Set[str], device: str) -> str:
    """``asked``, or for ``auto``: mixed bfloat16 on the kinds of devices where the backbone gains from it."""
    if asked != "auto":
        return asked
    return "mixed_bfloat16" if device in gaining else "float32"


@contextlib.contextmanager
def precision_policy(name: str) -> Iterator[None]:
    """Keras's global dtype policy inside the block."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
