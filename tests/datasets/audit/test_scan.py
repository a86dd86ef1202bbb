"""Every picture is looked at once: numbers as NumPy and SciPy compute them, unusable files by reason, on any cores."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from scipy.ndimage import laplace

from ferlab.datasets.audit.scan import gray_pixels, pixel_digests, scan
from ferlab.datasets.listing import row_table
from ferlab.samples import pixel_digest


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def table_of(pictures: list[np.ndarray]) -> pa.Table:
    ids = [str(i) for i in range(len(pictures))]
    return row_table(ids, ["Training"] * len(ids), [0] * len(ids), pixels=[picture.tobytes() for picture in pictures])


@pytest.fixture
def files(tmp_path, drawn_faces) -> pa.Table:
    """Eight images of several kinds and sizes, then six files that cannot be used."""
    faces = drawn_faces[0]
    paths = []
    for i, suffix in enumerate((".png", ".jpg", ".bmp", ".tif", ".png", ".png", ".jpg", ".png")):
        picture = cv2.resize(faces[i], (40 + i, 50 + 2 * i))
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if i % 2 else picture
        paths.append(tmp_path / f"{i}{suffix}")
        cv2.imwrite(str(paths[-1]), picture)
    broken = {
        "empty.jpg": b"",
        "page.png": b"<html>",
        "cut.png": paths[0].read_bytes()[:-20],
        "cut.jpg": b"\xff\xd8\xff",
    }
    for name, data in broken.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    paths += [tmp_path / "folder.png", tmp_path / "gone.png"]
    return row_table([path.name for path in paths], ["train"] * 14, [0] * 14, path=[str(path) for path in paths])


def test_numbers_are_those_of_numpy_and_scipy(drawn_faces):
    faces = [cv2.resize(face, (40 + i % 20,) * 2) for i, face in enumerate(drawn_faces[0][:300])]
    found = scan(table_of(faces), 2, quiet)
    assert found.usable.all()
    assert found.sizes.tolist() == [[face.shape[1], face.shape[0]] for face in faces]
    np.testing.assert_allclose(found.means, [face.mean() for face in faces], rtol=1e-5)
    np.testing.assert_allclose(found.contrasts, [face.std() for face in faces], rtol=1e-5)
    edges = [np.abs(laplace(face.astype(float), mode="mirror")).mean() for face in faces]
    np.testing.assert_allclose(found.sharpness, edges, rtol=1e-5)
    for i in range(0, 300, 30):
        assert found.digests[i].tobytes() == pixel_digest(faces[i])
        expected = cv2.resize(faces[i], (32, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(found.thumbnails[i], expected)


def test_files_are_decoded_to_gray_and_the_unusable_are_named(files):
    found = scan(files, 2, quiet)
    names = files["id"].to_pylist()
    assert {names[row]: reason for row, reason in found.unusable.items()} == {
        "empty.jpg": "empty file",
        "page.png": "not a JPEG, PNG, BMP or TIFF image",
        "cut.png": "cut PNG file",
        "cut.jpg": "cut JPEG file",
        "folder.png": "cannot be read (Is a directory)",
        "gone.png": "cannot be read (No such file or directory)",
    }
    assert found.usable.tolist() == [True] * 8 + [False] * 6
    assert found.sizes[:8].tolist() == [[40 + i, 50 + 2 * i] for i in range(8)]
    for i, path in enumerate(files["path"].to_pylist()[:8]):
        gray = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        assert found.digests[i].tobytes() == pixel_digest(gray)


@pytest.mark.parametrize("cores", [1, 3, 16])
def test_the_number_of_threads_changes_nothing(drawn_faces, cores):
    table = table_of(list(drawn_faces[0][:1100]))
    first, other = scan(table, 2, quiet), scan(table, cores, quiet)
    for name in ("digests", "sizes", "means", "contrasts", "sharpness", "thumbnails"):
        np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
    assert pixel_digests(table, cores) == [row.tobytes() for row in first.digests]


def test_progress_grows_to_the_total(drawn_faces):
    seen: list[tuple[int, int]] = []
    scan(table_of(list(drawn_faces[0][:1000])), 2, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (1000, 1000)
    assert {total for _, total in seen} == {1000}


def test_digests_alone_are_none_where_a_file_cannot_be_decoded(files):
    digests = pixel_digests(files, 2)
    assert [digest is None for digest in digests] == [False] * 8 + [True] * 6
    assert digests[0] == pixel_digest(cv2.imread(files["path"][0].as_py(), cv2.IMREAD_GRAYSCALE))


def test_the_same_pixels_in_another_file_format_have_the_same_digest(tmp_path, drawn_faces):
    paths = [tmp_path / f"face{suffix}" for suffix in (".png", ".bmp", ".tif")]
    for path in paths:
        cv2.imwrite(str(path), drawn_faces[0][0])
    table = row_table(["a", "b", "c"], ["train"] * 3, [0] * 3, path=[str(path) for path in paths])
    assert set(pixel_digests(table, 1)) == {pixel_digest(drawn_faces[0][0])}


def test_a_face_box_is_what_is_looked_at(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (80, 100), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    path, box = str(tmp_path / "photo.png"), [20.0, 10.0, 30.0, 30.0]
    table = row_table(["a", "b"], ["train"] * 2, [0] * 2, path=[path] * 2, box=[box, [200.0, 200.0, 9.0, 9.0]])
    found = scan(table, 1, quiet)
    np.testing.assert_array_equal(gray_pixels(table.to_pylist()[0]), photo[10:40, 20:50])
    assert found.digests[0].tobytes() == pixel_digest(photo[10:40, 20:50])
    assert "lies outside the photo" in found.unusable[1]


def test_no_rows_give_an_empty_scan():
    found = scan(row_table([], [], []), 2, quiet)
    assert (len(found.digests), found.unusable) == (0, {})


def test_an_error_of_ours_is_not_swallowed(tmp_path, monkeypatch):
    def broken(*_: object) -> np.ndarray:
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr("ferlab.datasets.audit.scan.thumbnail", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        scan(table_of([np.zeros((8, 8), np.uint8)] * 600), 2, quiet)
    assert list(Path(tmp_path).iterdir()) == []
