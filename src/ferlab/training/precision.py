"""Which arithmetic a training uses: measured per backbone and processor, overridable in the recipe."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def choose_precision(asked: str, gains_from_bfloat16: bool, cpuinfo: Path = CPUINFO) -> str:
    """``asked``, or for ``auto``: mixed bfloat16 where the backbone gains from it and the CPU has AVX512-BF16."""
    if asked != "auto":
        return asked
    try:
        native = "avx512_bf16" in cpuinfo.read_text(encoding="utf-8")
    except OSError:
        native = False
    return "mixed_bfloat16" if native and gains_from_bfloat16 else "float32"


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
