"""Machine types: those with A100 GPUs, whose kind and number come with the machine, and the processors of others."""

import re

A100, A100_80GB = "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB"

GPU_MACHINES: dict[str, tuple[str, int]] = {
    **{f"a2-highgpu-{count}g": (A100, count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": (A100, 16),
    **{f"a2-ultragpu-{count}g": (A100_80GB, count) for count in (1, 2, 4, 8)},
}
"""Kind and number of GPUs by machine type."""

PLAIN = re.compile(
    r"(?:c2|c3|e2|n1|n2|n2d)-(?:standard|highmem|highcpu)-(?:4|8|16|22|30|32|44|48|60|64|80|88|96|112|128|176|224)"
)
"""Machines that have no GPU of their own; networks can be trained on their processors."""


def gpus_of(machine: str) -> tuple[str | None, int]:
    """Kind and number of the GPUs of a machine type; (None, 0) for one without, or an unknown one."""
    return GPU_MACHINES.get(machine, (None, 0))


PROCESSORS = re.compile(r"(?P<family>[a-z]\d[a-z]?)-(custom|[a-z]+)-(?P<count>\d+)(-.+)?")


def processors_of(machine: str) -> tuple[str, int]:
    """Family and number of virtual processors of a machine type (``n2-standard-8``: n2, 8); ("", 0) for other names."""
    found = PROCESSORS.fullmatch(machine)
    return (found["family"], int(found["count"])) if found else ("", 0)


def is_known(machine: str) -> bool:
    """Whether a training can be sent to this machine type."""
    return machine in GPU_MACHINES or bool(PLAIN.fullmatch(machine))
