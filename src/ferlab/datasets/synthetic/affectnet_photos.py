"""AffectNet's original release: photographs with several faces, and two tables of boxes, landmarks and labels."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np

from ferlab.datasets.synthetic.affectnet_labels import ALL_EXPRESSIONS, EXPRESSIONS, NO_FACE, UNCERTAIN, labelled_face
from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.copies import Cells, Copy, Drawn, Layout, save_image
from ferlab.datasets.synthetic.photos import Photo, face_box, fitted, paint_photo, plan_photo
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.datasets.synthetic.turns import turn

IMAGES = "Manually_Annotated_Images"
PARTS = ("training", "validation")
COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip

PHOTOS_OF_A_BLOCK = (1,) * 38 + (2, 3)
"""Faces in each of 40 photos, 5 per cent of which show several; their order differs from block to block."""

ROWS_OF_A_BLOCK = sum(PHOTOS_OF_A_BLOCK)

ENDINGS: Mapping[str, float] = {
    ".jpg": 0.80, ".JPG": 0.06, ".jpeg": 0.05, ".png": 0.04, ".bmp": 0.025, ".tif": 0.025
}  # fmt: skip

DETECTION = {"found": 0.98, "not found": 0.02}
"""How often the release has a box."""

NOWHERE: Cells = (-1, -1, -1, -1, ";".join(["-1.00"] * 136))
"""Box and landmarks of what has none."""

NOT_ANNOTATED = "-2"

FILES_OF_A_FOLDER = 300
_PLAN, _PAINT, _BOX = 1, 2, 3


def photo_of(copy: Copy, index: int) -> range:
    """The indices of all faces in the photo that shows the face ``index``; a photo is in one part only."""
    block = index // ROWS_OF_A_BLOCK
    ends = _photo_ends(copy.seed, block)
    number = int(np.searchsorted(ends, index - block * ROWS_OF_A_BLOCK, side="right"))
    start, stop = (block * ROWS_OF_A_BLOCK + end for end in (0 if number == 0 else ends[number - 1], ends[number]))
    border = copy.count - copy.held_out
    if index < border:
        return range(start, min(stop, border))
    return range(max(start, border), min(stop, copy.count))


@lru_cache(maxsize=64)
def _photo_ends(seed: int, block: int) -> tuple[int, ...]:
    order = np.random.default_rng([seed, block, len(PHOTOS_OF_A_BLOCK)]).permutation(PHOTOS_OF_A_BLOCK)
    return tuple(np.cumsum(order).tolist())


def path_of(copy: Copy, first: int) -> str:
    """Sub-directory and hashed name, relative to ``IMAGES``, of the photo that begins with the face ``first``."""
    digest = hashlib.sha224(f"{copy.seed}/{first}".encode()).hexdigest()
    return f"{int(digest[:8], 16) % _folder_count(copy) + 1}/{digest}{turn(ENDINGS, 2, copy.seed, first)}"


def _folder_count(copy: Copy) -> int:
    return max(3, copy.count // FILES_OF_A_FOLDER)


def _folders(copy: Copy) -> Iterable[str]:
    return (f"{IMAGES}/{number + 1}" for number in range(_folder_count(copy)))


def _draw(copy: Copy, index: int) -> Drawn:
    members = photo_of(copy, index)
    photo = plan_photo(_random(copy, members.start, _PLAN), len(members), copy.size_px)
    path = path_of(copy, members.start)
    paints = index == members.start
    people = {member: labelled_face(ALL_EXPRESSIONS, copy.seed, member) for member in (members if paints else (index,))}
    if paints and not any(copy.leaves_out(member) for member in members):
        shown = [None if label == NO_FACE else fitted(face, photo) for label, face in people.values()]
        save_image(copy.folder / IMAGES / path, paint_photo(_random(copy, index, _PAINT), photo, shown))
    label, face = people[index]
    found = label != NO_FACE and turn(DETECTION, 1, copy.seed, index) == "found"
    where = _whereabouts(copy, index, photo, index - members.start, face) if found else NOWHERE
    part = PARTS[index >= copy.count - copy.held_out]
    cells: Cells = (path, *where, EXPRESSIONS.index(label), *_affect(label, face))
    return Drawn(part, label, ((f"{part}.csv", cells),))


def _whereabouts(copy: Copy, index: int, photo: Photo, position: int, face: Face) -> Cells:
    """Box and landmarks, as the tables give them, of the face at a position of the photo."""
    place = photo.places[position]
    points = landmarks(fitted(face, photo), place.size_px) + np.array((place.x_px, place.y_px))
    slack = float(_random(copy, index, _BOX).uniform(0.0, 0.12))
    return *face_box(points, photo, slack), ";".join(["%.2f"] * points.size) % tuple(points.ravel().tolist())


def _random(copy: Copy, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([copy.seed, index, 0, purpose])


def _affect(label: str, face: Face) -> tuple[str, str]:
    """Valence and arousal; the release gives none for Uncertain and No-Face."""
    if label in (UNCERTAIN, NO_FACE):
        return NOT_ANNOTATED, NOT_ANNOTATED
    return f"{face.valence:.6f}", f"{face.arousal:.6f}"


AFFECTNET_MANUAL = Layout(
    _draw,
    PARTS,
    EXPRESSIONS,
    {f"{part}.csv": COLUMNS for part in PARTS},
    _folders,
    may_miss=True,
)
"""The release of 2017: whole photos, all eleven expressions."""
