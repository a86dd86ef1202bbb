"""Machine types with A100 GPUs, as Vertex AI offers them; type and number of GPUs come with the machine."""

A100, A100_80GB = "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB"

GPU_MACHINES: dict[str, tuple[str, int]] = {
    **{f"a2-highgpu-{count}g": (A100, count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": (A100, 16),
    **{f"a2-ultragpu-{count}g": (A100_80GB, count) for count in (1, 2, 4, 8)},
}
"""Kind and number of GPUs by machine type."""

PLAIN_FAMILIES = ("c2", "c3", "c4", "e2", "n1", "n2", "n2d", "n4")
"""Families of machines that have no GPU of their own; networks can be trained on their processors."""


def gpus_of(machine: str) -> tuple[str | None, int]:
    """Kind and number of the GPUs of a machine type; (None, 0) for one without, or an unknown one."""
    return GPU_MACHINES.get(machine, (None, 0))


def is_known(machine: str) -> bool:
    """Whether a training can be sent to this machine type."""
    return machine in GPU_MACHINES or machine.partition("-")[0] in PLAIN_FAMILIES
