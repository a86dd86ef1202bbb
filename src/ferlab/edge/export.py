"""A model into one file that says itself what it is."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.edge.description import Description
from ferlab.edge.files import ENDING, describe_file
from ferlab.edge.litert import write_litert
from ferlab.edge.onnx_file import write_onnx
from ferlab.edge.packages import require_package

EXPORTS = "exports"
"""Of the artifacts of the model's run: every file with its tables beside it, ``FILE.md`` and ``FILE.json``."""
NEEDED = {"litert": ("ai_edge_litert",), "onnx": ("onnx", "onnxruntime", "tf2onnx"), "keras": ()}
"""The optional packages, as they are imported."""
UNFIT_FOR_A_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Target:
    """What is exported: ``format`` of ENDING, ``precision`` one it comes in, int8's quantised output or none."""

    format: str
    precision: str
    uint8_output: bool = False

    @classmethod
    def named(cls, variant: str) -> "Target":
        """``onnx`` or ``litert-int8`` as a target; float32 where no precision is named."""
        name, _, precision = variant.partition("-")
        return cls(name, precision or "float32")

    @property
    def label(self) -> str:
        """Format and precision in one word, ``litert-int8``."""
        return f"{self.format}-{self.precision}" + ("-uint8" if self.uint8_output else "")

    def file_name(self, name: str) -> str:
        """What the file of the run ``name`` is called."""
        kind = self.label.partition("-")[2]
        return f"{UNFIT_FOR_A_NAME.sub('_', name)}-{kind}{ENDING[self.format]}"

    def require_packages(self) -> None:
        """UserError when a package that it needs is not installed."""
        for name in NEEDED[self.format]:
            require_package(name)


def export_file(
    model: Any,
    description: Description,
    target: Target,
    folder: Path,
    representative: np.ndarray | None = None,
    corrected: bool = True,
) -> Path:
    """Write the file of ``target`` into ``folder`` and give its path; int8 needs ``representative`` images.

    Without ``corrected`` the biases of int8 stay as they are rounded: enough where only size and speed count.

    Raises:
        UserError: a package is missing, or the format lacks an operation of the network.

    """
    target.require_packages()
    file = folder / target.file_name(description.name)
    if target.format == "litert":
        write_litert(model, file, target.precision, representative, target.uint8_output, corrected)
    elif target.format == "onnx":
        write_onnx(model, file)
    else:
        model.save(file)
    describe_file(file, replace(description, precision=target.precision))
    return file
