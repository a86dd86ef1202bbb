"""Which machines Vertex AI has for custom jobs, and which accelerators go with them."""

import re
from typing import Any

from ferlab.compute.rehearsal.web import ApiError

A100_40GB, A100_80GB = "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB"
WITH_THEIR_OWN = {
    **{f"a2-highgpu-{count}g": (A100_40GB, count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": (A100_40GB, 16),
    **{f"a2-ultragpu-{count}g": (A100_80GB, count) for count in (1, 2, 4, 8)},
}
"""Machine types that come with accelerators: the one kind and count that they take."""
N1 = re.compile(r"n1-(standard-(4|8|16|32|64|96)|highmem-(2|4|8|16|32|64|96)|highcpu-(16|32|64|96))")
N1_TAKES = frozenset({"NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100", "NVIDIA_TESLA_P4", "NVIDIA_TESLA_T4"})
PLAIN = re.compile(r"(e2|n2|n2d|n4|c2|c2d|c3|c4|m1)-[a-z]+-\d+")
OTHERS = re.compile(r"(g2-standard-\d+|a3-[a-z]+-\d+g|a4-[a-z]+-\d+g|cloud-tpu|ct\w+-\w+-\d+t)")
"""Known to the service, with accelerators that are not told apart here."""


def check_machine(spec: dict[str, Any]) -> None:
    """A refusal of a machine type that there is not, or that does not take that accelerator or that many."""
    machine, kind = spec.get("machineType", ""), spec.get("acceleratorType", "")
    count = int(spec.get("acceleratorCount", 0))
    if not machine:
        raise ApiError(400, "Machine type must be specified.")
    if bool(kind) != bool(count):
        raise ApiError(400, "accelerator_type and accelerator_count must be set together.")
    if machine in WITH_THEIR_OWN:
        _check_own(machine, kind, count)
    elif N1.fullmatch(machine):
        if kind and kind not in N1_TAKES:
            raise ApiError(400, f'Accelerator "{kind}" is not supported for machine type "{machine}".')
    elif PLAIN.fullmatch(machine):
        if kind:
            raise ApiError(400, f'Accelerator "{kind}" is not supported for machine type "{machine}".')
    elif not OTHERS.fullmatch(machine):
        raise ApiError(400, f'Machine type "{machine}" is not supported.')


def _check_own(machine: str, kind: str, count: int) -> None:
    own, own_count = WITH_THEIR_OWN[machine]
    if kind != own:
        asked = f'Accelerator "{kind}" is not supported' if kind else f'Accelerator "{own}" must be specified'
        raise ApiError(400, f'{asked} for machine type "{machine}".')
    if count != own_count:
        raise ApiError(400, (
            f'Accelerator count {count} of "{kind}" is not supported for machine type "{machine}": it has {own_count}.'
        ))  # fmt: skip


def quota_metrics(pools: list[dict[str, Any]], preemptible: bool) -> list[str]:
    """Names of the quotas that a job's machines count for."""
    names = []
    prefix = "custom_model_training_" + ("preemptible_" if preemptible else "")
    for pool in pools:
        kind = pool.get("machineSpec", {}).get("acceleratorType", "")
        plain = kind.lower().replace("tesla_", "")
        names.append(f"aiplatform.googleapis.com/{prefix}{f'{plain}_gpus' if kind else 'cpus'}")
    return sorted(set(names))
