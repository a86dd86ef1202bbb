"""FER-2013 as it circulates: the official CSV, its ICML and Kaggle variants, FERPlus beside it, class folders."""

from collections.abc import Iterable

from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.copies import Copy, Drawn, Layout, save_image
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.ferplus_votes import KINDS, VOTE_COLUMNS, drawn_votes, image_name, leading
from ferlab.datasets.synthetic.population import sample_face
from ferlab.emotions import FER2013

FER2013_PX = 48
USAGES = ("Training", "PublicTest", "PrivateTest")
CSV, ICML_CSV, VOTES_CSV, TRAIN_CSV, TEST_CSV = (
    "fer2013.csv", "icml_face_data.csv", "fer2013new.csv", "train.csv", "test.csv"
)  # fmt: skip
FOLDERS = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}


def usage_of(copy: Copy, index: int) -> str:
    """Split like the official file, by index order: 80, 10 and 10 per cent."""
    if index < copy.count - 2 * copy.held_out:
        return "Training"
    return "PublicTest" if index < copy.count - copy.held_out else "PrivateTest"


def _draw_csv(copy: Copy, index: int) -> Drawn:
    face, usage = sample_face(copy.seed, index), usage_of(copy, index)
    return Drawn(usage, face.category, ((CSV, (_id(face), _pixels(copy, face), usage)),))


def _draw_icml(copy: Copy, index: int) -> Drawn:
    face, usage = sample_face(copy.seed, index), usage_of(copy, index)
    return Drawn(usage, face.category, ((ICML_CSV, (_id(face), usage, _pixels(copy, face))),))


def _draw_kaggle(copy: Copy, index: int) -> Drawn:
    face, usage = sample_face(copy.seed, index), usage_of(copy, index)
    pixels = _pixels(copy, face)
    row = (TRAIN_CSV, (_id(face), pixels)) if usage == "Training" else (TEST_CSV, (pixels,))
    return Drawn(usage, face.category, (row,))


def _draw_ferplus(copy: Copy, index: int) -> Drawn:
    face, usage = sample_face(copy.seed, index), usage_of(copy, index)
    votes = drawn_votes(face.category, copy.seed, index)
    pixels = (CSV, (_id(face), _pixels(copy, face), usage))
    return Drawn(usage, leading(votes), (pixels, (VOTES_CSV, (usage, image_name(votes, index), *votes))))


def _draw_folder(copy: Copy, index: int) -> Drawn:
    face, usage = sample_face(copy.seed, index), usage_of(copy, index)
    file = copy.folder / FOLDERS[usage] / face.category / f"{usage}_{index:08d}.jpg"
    save_image(file, draw_face(face, copy.size_px or FER2013_PX, "gray"))
    return Drawn(usage, face.category)


def _class_folders(_copy: Copy) -> Iterable[str]:
    return (f"{part}/{category}" for part in ("train", "test") for category in FER2013.classes)


def _id(face: Face) -> int:
    return FER2013.ids[FER2013.index_of(face.category)]


def _pixels(copy: Copy, face: Face) -> str:
    return " ".join(map(str, draw_face(face, copy.size_px or FER2013_PX, "gray").ravel().tolist()))


CSV_HEADER = ("emotion", "pixels", "Usage")
VOTES_HEADER = ("Usage", "Image name", *VOTE_COLUMNS)

FER2013_CSV = Layout(_draw_csv, USAGES, FER2013.classes, {CSV: CSV_HEADER})
"""The official file."""

FER2013_ICML = Layout(_draw_icml, USAGES, FER2013.classes, {ICML_CSV: ("emotion", " Usage", " pixels")})
"""The same rows with another order of columns and blanks in the header."""

FER2013_KAGGLE = Layout(
    _draw_kaggle, USAGES, FER2013.classes, {TRAIN_CSV: ("emotion", "pixels"), TEST_CSV: ("pixels",)}
)
"""The challenge: both test parts without labels, PublicTest first."""

FER2013_FOLDER = Layout(_draw_folder, USAGES, FER2013.classes, {}, _class_folders)
"""Class folders; ``test`` mixes both test parts, the prefix of a name tells them apart."""

FERPLUS = Layout(_draw_ferplus, USAGES, KINDS, {CSV: CSV_HEADER, VOTES_CSV: VOTES_HEADER})
"""The official file and the row-aligned votes of Barsoum et al. 2016."""
