"""Where a description stands in a file of each format, so that the file alone can be used."""

import zipfile
import zlib
from pathlib import Path

from ferlab.edge.description import Description
from ferlab.edge.packages import package
from ferlab.errors import UserError

ENTRY = "ferlab.json"
"""In the ZIP archive that a .keras file is, and that follows the graph in a .tflite file (``unzip -p FILE`` shows it).

The end of a .tflite file is where LiteRT's metadata libraries look for associated files, too.
"""
LABELS = "labels.txt"
"""Beside it: the class names, one a line, as programs for LiteRT expect them."""
KEY = "ferlab"
"""Of the metadata in an ONNX file."""
ENDING = {"litert": ".tflite", "onnx": ".onnx", "keras": ".keras"}
"""Of a file in each format."""
LARGEST_ENTRY = 1_000_000


def describe_file(file: Path, description: Description) -> None:
    """Write the description into a model file that has none yet."""
    if file.suffix == ".onnx":
        onnx = package("onnx")
        model = onnx.load(str(file))
        model.producer_name = "ferlab"
        onnx.helper.set_model_props(model, {KEY: description.as_json(), "labels": ",".join(description.classes)})
        onnx.save(model, str(file))
        return
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(ENTRY, description.as_json())
        archive.writestr(LABELS, "\n".join(description.classes) + "\n")


def archived_description(file: Path) -> Description:
    """The description in a .tflite or .keras file; UserError when it has none."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(ENTRY).file_size > LARGEST_ENTRY:
                raise undescribed(file)
            text = archive.read(ENTRY)
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise undescribed(file) from error
    return Description.from_json(text, str(file))


def undescribed(file: Path) -> UserError:
    """What is said of a model that ferlab did not export."""
    return UserError(
        f"{file}: not a model that ferlab exported: it does not say its classes and how its images are made. "
        "Make one with ferlab export run=ID."
    )
