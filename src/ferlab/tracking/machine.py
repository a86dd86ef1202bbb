"""What a machine is, as far as numbers depend on it: processor, vector instructions, cores, system, settings."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from ferlab.parallel import usable_cores

CPUINFO = Path("/proc/cpuinfo")
VECTOR_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "sve2", "bf16",
)  # fmt: skip
"""What the backends' libraries choose their kernels by, as Linux names it."""
SETTINGS = (
    "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "OMP_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE", "JAX_DEFAULT_MATMUL_PRECISION",
)  # fmt: skip
"""Variables of the environment that change what the backends compute."""


def machine_tags(environment: Mapping[str, str] = os.environ, cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """Tags of a run; the cores are those that this process may use."""
    described = _described(cpuinfo)
    flags = set((described.get("flags") or described.get("Features") or "").split())
    libc = " ".join(filter(None, platform.libc_ver()))
    return {
        "machine.cpu": described.get("model name") or platform.processor() or platform.machine(),
        "machine.vectors": " ".join(flag for flag in VECTOR_FLAGS if flag in flags) or "none known",
        "machine.cores": str(usable_cores()),
        "machine.system": " ".join(filter(None, (platform.system(), platform.machine(), libc))),
        "machine.settings": " ".join(f"{key}={environment[key]}" for key in SETTINGS if key in environment) or "none",
    }


def _described(cpuinfo: Path) -> dict[str, str]:
    """The first processor's lines; none where the system does not tell."""
    try:
        first = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
