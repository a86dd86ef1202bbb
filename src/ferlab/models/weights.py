"""What a base starts from: ImageNet weights, a file, or nothing."""

import re
import warnings
from pathlib import Path
from typing import Any

from ferlab.errors import UserError, first_line
from ferlab.models.applications import application_base
from ferlab.models.catalog import CATALOG, Backbone

WEIGHTS_SUFFIX = ".weights.h5"


def load_weights(base: Any, row: Backbone, weights: str, required: bool, width: float) -> tuple[bool, str]:
    """Fill ``base`` from ``weights`` (``imagenet``, ``none``, a file, a folder): whether it did, and why not.

    Raises:
        UserError: required ImageNet weights cannot be had, or a file does not fit.

    """
    if weights == "none":
        return False, ""
    if weights == "imagenet":
        problem = _load_imagenet(base, row, width)
    elif file := _file_for(row.name, width, Path(weights).expanduser()):
        _load_file(base, row.name, file)
        problem = ""
    else:
        problem = f"none of the files in {weights} is named after it"
    if problem and required:
        message = f"backbone.weights={weights}: {problem}. Give a file, or backbone.weights_required=false."
        raise UserError(message)
    return not problem, problem and f"no pretrained weights ({problem}): {row.name} is trained from scratch"


def _file_for(name: str, width: float, place: Path) -> Path | None:
    """``place`` itself, or the file in that folder that is named after the backbone, such as ``vgg16_notop``.

    Of several the one whose name has the width, as in ``mobilenet_v2_0.35``, else one whose name has none.
    """
    if not place.is_dir():
        return place
    fitting = [file for file in sorted(place.glob(f"*{WEIGHTS_SUFFIX}")) if _named_in(file.name) == name]

    def other_width(file: Path) -> int:
        named = re.search(r"_(\d\.\d+)(?=_|\.)", file.name)
        return 1 if named is None else 2 * (float(named[1]) != width)

    return min(fitting, key=other_width, default=None)


def _named_in(file_name: str) -> str:
    """The backbone that a file is named after, spelt as ferlab or Keras does; empty when there is none."""
    plain = file_name.lower().replace("_", "").replace("-", "").removeprefix("weights")
    return max((known for known in CATALOG if plain.startswith(known.replace("_", ""))), key=len, default="")


def _load_imagenet(base: Any, row: Backbone, width: float) -> str:
    """Copy Keras's own ImageNet weights (cache, else download) into ``base``; the reason when that fails."""
    if row.application is None:
        return f"there are none for {row.name}"
    try:
        source = application_base(row.application, base.input_shape[1:], width, "imagenet")
    except Exception as error:
        return first_line(error, 120)
    base.set_weights(source.get_weights())
    return ""


def _load_file(base: Any, name: str, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns once for every layer of a file that does not fit
            base.load_weights(path)
        surplus = _arrays_in(path) - len(base.weights) if path.name.endswith(WEIGHTS_SUFFIX) else 0
        if surplus:
            # Keras takes what it looks for and leaves the rest of a deeper network's file unread
            message = f"{surplus:+d} arrays"
            raise ValueError(message)
    except (OSError, ValueError, KeyError) as error:
        message = f"backbone.weights={path}: does not fit {name} ({first_line(error)})."
        raise UserError(message) from error


def _arrays_in(path: Path) -> int:
    """How many arrays a file of Keras 3 holds for layers; seeds and optimizers aside."""
    import h5py

    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return sum(not {"seed_generator", "optimizer"} & set(name.split("/")) for name in names)
