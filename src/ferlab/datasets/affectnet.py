"""AffectNet, 2021 release (Mollahosseini et al. 2017): cropped 224 px images with one ``.npy`` per annotation.

Protocol ``carved``: validation is carved out of train by image (this release does not tell which faces share a photo),
the official validation images are reported.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from ferlab.datasets.listing import Listing, Source
from ferlab.datasets.splits import carve_validation
from ferlab.emotions import AFFECTNET7, AFFECTNET8
from ferlab.errors import UserError
from ferlab.manifest import Rejection
from ferlab.samples import TEST, TRAIN, VALIDATION, sample_table

SETS = ("train_set", "val_set")
EXPRESSION_IDS = range(11)


def locate(root: Path) -> Source:
    """Recognise the 2021 layout in ``root``; UserError when it is not there."""
    missing = [
        f"{name}/{part}" for name in SETS for part in ("images", "annotations") if not (root / name / part).is_dir()
    ]
    if missing:
        message = (
            f"dataset.root={root}: no {', '.join(missing)} there. Point dataset.root at the folder of AffectNet's "
            "2021 release that holds train_set/ and val_set/."
        )
        raise UserError(message)
    return Source("affectnet-2021", root, tuple(root / name for name in SETS))


def read(source: Source, protocol: str, val_fraction: float, seed: int) -> Listing:
    """List the seven-class samples; Contempt, None, Uncertain and No-Face are left out and counted."""
    del protocol  # one protocol: the catalog has checked it
    ids: list[str] = []
    labels: list[int] = []
    affect: list[tuple[float | None, float | None]] = []
    reported: list[bool] = []
    excluded: Counter[str] = Counter()
    rejected: list[Rejection] = []
    for name in SETS:
        for image in sorted((source.root / name / "images").iterdir()):
            sample_id = image.relative_to(source.root).as_posix()
            notes = source.root / name / "annotations"
            expression = _number(notes / f"{image.stem}_exp.npy")
            if isinstance(expression, str):
                rejected.append(Rejection(sample_id, expression))
                continue
            if expression not in EXPRESSION_IDS:
                message = (
                    f"{notes / image.stem}_exp.npy: expression is {expression:g}, must be 0..10. Download it again."
                )
                raise UserError(message)
            if int(expression) not in AFFECTNET7.ids:
                name_of = dict(enumerate(AFFECTNET8.classes)).get(int(expression), "no category")
                excluded[f"{name_of}, not one of the seven classes"] += 1
                continue
            ids.append(sample_id)
            labels.append(AFFECTNET7.index_of_id(int(expression)))
            affect.append((_affect(notes / f"{image.stem}_val.npy"), _affect(notes / f"{image.stem}_aro.npy")))
            reported.append(name == SETS[1])
    if not any(reported) or all(reported):
        message = f"{source.root}: train_set or val_set holds no annotated images. Download the release again."
        raise UserError(message)
    table = sample_table(
        ids,
        _splits(ids, labels, reported, val_fraction, seed),
        labels,
        paths=[str(source.root / sample_id) for sample_id in ids],
        valence=[pair[0] for pair in affect],
        arousal=[pair[1] for pair in affect],
    )
    return Listing(table, AFFECTNET7, tuple(rejected), dict(excluded))


def _splits(ids: list[str], labels: list[int], reported: list[bool], val_fraction: float, seed: int) -> list[str]:
    training = np.flatnonzero(~np.array(reported))
    validation = carve_validation(
        [ids[i] for i in training], [labels[i] for i in training], list(training), val_fraction, seed
    )
    splits = np.where(reported, TEST, TRAIN).astype(object)
    splits[training[validation]] = VALIDATION
    return list(splits)


def _number(file: Path) -> float | str:
    """The number in a 0-d ``.npy`` (string or numeric), or the reason why there is none."""
    try:
        return float(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        return f"annotation {file.name} is missing"
    except (ValueError, TypeError, OSError, EOFError):
        return f"annotation {file.name} is not a number"


def _affect(file: Path) -> float | None:
    """Valence or arousal in -1..1; None where it is missing or -2, the mark of what was not annotated."""
    value = _number(file)
    return value if not isinstance(value, str) and -1 <= value <= 1 else None
