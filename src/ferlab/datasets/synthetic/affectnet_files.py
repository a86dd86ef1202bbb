"""AffectNet as cropped faces: the 2021 release with its annotation files, and the class-folder repacks."""

from collections.abc import Iterable, Mapping

import numpy as np

from ferlab.datasets.synthetic.affectnet_labels import EIGHT_CLASSES, labelled_face
from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.copies import Copy, Drawn, Layout, save_image
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.emotions import AFFECTNET7, AFFECTNET8

AFFECTNET_PX = 224
SETS = ("train_set", "val_set")
PARTS = ("train", "val")

FOLDER_NAMES: Mapping[str, str] = {
    "neutral": "Neutral",
    "happy": "Happy",
    "sad": "Sad",
    "surprise": "Surprise",
    "fear": "Fear",
    "disgust": "Disgust",
    "angry": "Anger",
    "contempt": "Contempt",
}
"""Class of ``emotions.AFFECTNET8`` to the name of its folder in the repacks."""


def _held_out(copy: Copy, index: int) -> bool:
    return index >= copy.count - copy.held_out


def _draw_2021(copy: Copy, index: int) -> Drawn:
    face, part = sample_face(copy.seed, index), SETS[_held_out(copy, index)]
    home, size_px = copy.folder / part, copy.size_px or AFFECTNET_PX
    save_image(home / "images" / f"{index}.jpg", draw_face(face, size_px, "rgb"))
    for kind, value in _annotations(face, size_px).items():
        np.save(home / "annotations" / f"{index}_{kind}.npy", value)
    return Drawn(part, face.category)


def _annotations(face: Face, size_px: int) -> dict[str, np.ndarray]:
    """As in the 2021 release: labels are strings in 0-d arrays, landmarks 136 numbers x, y, x, y, ..."""
    expression = AFFECTNET7.ids[AFFECTNET7.index_of(face.category)]
    return {
        "exp": np.array(str(expression)),
        "val": np.array(f"{face.valence:.6f}"),
        "aro": np.array(f"{face.arousal:.6f}"),
        "lnd": landmarks(face, size_px).ravel(),
    }


def _folders_2021(_copy: Copy) -> Iterable[str]:
    return (f"{part}/{kind}" for part in SETS for kind in ("images", "annotations"))


def _draw_folder(copy: Copy, index: int) -> Drawn:
    label, face = labelled_face(EIGHT_CLASSES, copy.seed, index)
    part = PARTS[_held_out(copy, index)]
    file = copy.folder / part / FOLDER_NAMES[label] / f"image{index:07d}.jpg"
    save_image(file, draw_face(face, copy.size_px or AFFECTNET_PX, "rgb"))
    return Drawn(part, label)


def _class_folders(_copy: Copy) -> Iterable[str]:
    return (f"{part}/{name}" for part in PARTS for name in FOLDER_NAMES.values())


AFFECTNET_2021 = Layout(_draw_2021, SETS, AFFECTNET7.classes, {}, _folders_2021)
"""The release of 2021, its seven basic classes."""

AFFECTNET_FOLDER = Layout(_draw_folder, PARTS, AFFECTNET8.classes, {}, _class_folders)
"""A repack that is no release of AffectNet: one folder a class, eight classes."""
