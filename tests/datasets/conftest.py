"""What tests of the datasets share: rights without root's, drawn faces, and copies made of pictures in memory."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.audit.scan import scan
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.listing import Rows, Source, row_table
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.emotions import FER2013
from ferlab.storage.files import exclusive

NOBODY = 65534
DRAWN, DRAWN_SEED = 4000, 11

MakeCopy = Callable[..., Copy]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder for files whose permissions count: while the test runs, root gives up its rights."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        if user == 0:
            os.chown(folder, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, user)
        try:
            yield folder
        finally:
            if user == 0:
                os.setresuid(user, user, user)


@pytest.fixture(scope="session")
def drawn_faces(session_folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Drawn faces uint8 (4000, 48, 48) and their labels (4000,) in FER-2013's order; read-only."""
    file = session_folder / "drawn-faces.npz"
    with exclusive(file.with_suffix(".lock")):
        if not file.exists():
            faces = [sample_face(DRAWN_SEED, number) for number in range(DRAWN)]
            images = np.stack([draw_face(face, 48, "gray") for face in faces])
            np.savez(file, images=images, labels=[FER2013.index_of(face.category) for face in faces])
    with np.load(file) as stored:
        return stored["images"], stored["labels"]


@pytest.fixture(scope="session")
def copy_of() -> MakeCopy:
    """``copy_of(images, parts, labels, entries=())``: a copy of gray pictures after its scan, ids are row numbers."""

    def make(
        images: Sequence[np.ndarray],
        parts: Sequence[str] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        entries: tuple[Path, ...] = (),
    ) -> Copy:
        ids = [str(number) for number in range(len(images))]
        table = row_table(ids, list(parts), labels, pixels=[picture.tobytes() for picture in images])
        source = Source("fer2013-csv", Path("memory"), entries)
        return Copy(source, Rows(table, FER2013), scan(table, 2, lambda done, total: None))

    return make


# --- what happens to datasets before they are passed on

Pictures = tuple[Sequence[np.ndarray], np.ndarray, np.ndarray]
"""Images, the part of each, and its label in FER-2013's order."""


@dataclass(frozen=True)
class Contamination:
    """A change of a copy, and the verdict and the words of an alarm that must name it."""

    change: Callable[[Sequence[np.ndarray], np.ndarray, np.ndarray], Pictures]
    verdict: str
    words: str


def _each(change: Callable[[np.ndarray], np.ndarray], part: str | None = None) -> Callable[..., Pictures]:
    """Change every picture, or those of one part."""
    return lambda images, parts, labels: (
        [change(picture) if part in (None, own) else picture for picture, own in zip(images, parts, strict=True)],
        parts,
        labels,
    )


def _kept(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Pictures:
    return [images[row] for row in rows.tolist()], parts[rows], labels[rows]


def _stretched(picture: np.ndarray) -> np.ndarray:
    low, high = np.percentile(picture, [2, 98])
    return np.clip((picture - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)


def _jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda picture: cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE
    )


def _gamma(picture: np.ndarray) -> np.ndarray:
    return np.rint(255 * (picture / 255) ** 0.6).astype(np.uint8)


def _alphabetical(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray) -> Pictures:
    order = sorted(FER2013.classes)
    return images, parts, np.array([order.index(name) for name in FER2013.classes])[labels]


def _shuffled_in_part(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray) -> Pictures:
    rng = np.random.default_rng(0)
    rows, changed = rng.choice(len(labels), len(labels) // 10, replace=False), labels.copy()
    changed[rows] = rng.permutation(changed[rows])
    return images, parts, changed


def _split_anew(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray) -> Pictures:
    return images, np.random.default_rng(0).permutation(parts), labels


def _tenth_missing(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray) -> Pictures:
    rows = np.random.default_rng(0).permutation(len(labels))[: int(0.9 * len(labels))]
    return _kept(images, parts, labels, np.sort(rows))


def _only_training(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray) -> Pictures:
    return _kept(images, parts, labels, np.flatnonzero(parts == "Training"))


def _augmented_before_split(images: Sequence[np.ndarray], parts: np.ndarray, labels: np.ndarray) -> Pictures:
    """Disgust ninefold, then everything split anew."""
    rng, disgust = np.random.default_rng(0), FER2013.classes.index("disgust")
    added = [_turned(images[row], rng) for row in np.flatnonzero(labels == disgust).tolist() for _ in range(8)]
    rows = rng.permutation(len(images) + len(added))
    everything = [*images, *added]
    all_labels = np.concatenate([labels, np.full(len(added), disgust)])
    all_parts = np.concatenate([parts, rng.choice(parts, len(added))])
    return [everything[row] for row in rows.tolist()], all_parts, all_labels[rows]


def _turned(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned by up to 10 degrees, shifted by up to 3 px, mirrored half of the time."""
    matrix = cv2.getRotationMatrix2D((24, 24), rng.uniform(-10, 10), 1)
    matrix[:, 2] += rng.uniform(-3, 3, 2)
    turned = cv2.warpAffine(picture, matrix, (48, 48), borderMode=cv2.BORDER_REFLECT)
    return turned[:, ::-1].copy() if rng.random() < 0.5 else turned


CONTAMINATIONS = {
    "labels in alphabetical order": Contamination(_alphabetical, "relabelled", r"another order \(alphabetical7\)"),
    "classes shuffled in part": Contamination(
        _shuffled_in_part, "relabelled", "carry another label than in the release$"
    ),
    "training stretched": Contamination(_each(_stretched, "Training"), "altered-pixels", "^Training: more contrast"),
    "gamma changed": Contamination(_each(_gamma), "altered-pixels", "less contrast"),
    "blurred": Contamination(
        _each(lambda picture: cv2.GaussianBlur(picture, (0, 0), 0.8)), "altered-pixels", "blurred"
    ),
    "28 px": Contamination(
        _each(lambda picture: cv2.resize(picture, (28, 28), interpolation=cv2.INTER_AREA)),
        "altered-pixels",
        "28x28 px, the release has 48x48 px",
    ),
    "augmented before splitting": Contamination(
        _augmented_before_split, "augmented-before-split", "Training: more images than the release has .*disgust"
    ),
    "split anew": Contamination(
        _split_anew, "re-split", "[0-9] Training images of the release stand in PublicTest: the copy was split anew"
    ),
    "a tenth missing": Contamination(_tenth_missing, "subset", r"Training: .* images, [\d,]+ are missing"),
    "only training": Contamination(_only_training, "subset", "PublicTest: none of its"),
}
RE_ENCODED = {f"JPEG {quality}": _each(_jpeg(quality)) for quality in (95, 75, 50)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "contamination" in metafunc.fixturenames:
        metafunc.parametrize("contamination", CONTAMINATIONS.values(), ids=CONTAMINATIONS)
    if "re_encoded" in metafunc.fixturenames:
        metafunc.parametrize("re_encoded", RE_ENCODED.values(), ids=RE_ENCODED)
