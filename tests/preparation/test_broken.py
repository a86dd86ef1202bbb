"""A folder with broken images: every file is accounted for, and too many of them stop the run without losing it."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.errors import UserError
from ferlab.manifest import MANIFEST_NAME, REJECTED_NAME, Manifest, load_complete
from ferlab.preparation.prepare import Prepared
from ferlab.preparation.request import Request
from ferlab.preparation.sealing import TooManyRejectedError
from ferlab.records.load import read_samples
from ferlab.sealed import Opening

from .conftest import contents, folder_of, litter

FACES = 200


def saved(pixels: np.ndarray, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of some bytes whose header says 40,000x40,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, body)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + b"\0\0\0\0IEND\xaeB`\x82"


def animation(frames: list[np.ndarray]) -> bytes:
    file = BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(file, "GIF", save_all=True, append_images=others)
    return file.getvalue()


USABLE = ("print.jpg", "deep.png", "wrong ending.jpg")
REASONS = {
    "cut.jpg": "cut JPEG file",
    "empty.jpg": "empty file",
    "text.jpg": "not a JPEG, PNG, BMP or TIFF image",
    "bomb.png": "image of 40000x40000 pixels is larger than 100,000,000 pixels",
    "animation.jpg": "not a JPEG, PNG, BMP or TIFF image",
    "animation.gif": "not an image file",
    "gone.jpg": "cannot be read (No such file or directory)",
    "folder.jpg": "in a folder inside a class folder",
}
"""What stands in a class folder under a name that hides it, and what is said of it."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 200 drawn faces and eleven odd files, eight of them of no use (3.8 %)."""
    root = tmp_path_factory.mktemp("broken") / "affectnet"
    write_synthetic("affectnet-folder", root, FACES, 1)
    folder = root / "train" / "Happy"
    photo = np.asarray(Image.open(sorted(folder.iterdir())[0]).convert("RGB"))
    whole = saved(photo, "JPEG", quality=90)
    frames = [photo, photo[::-1], photo[:, ::-1]]
    files = {
        "cut.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "text.jpg": b"<html>404</html>",
        "bomb.png": bomb(),
        "animation.jpg": animation(frames),
        "animation.gif": animation(frames),
        "print.jpg": saved(photo, "JPEG", "CMYK", quality=95),
        "deep.png": saved(photo[:, :, 1].astype(np.uint16) * 256, "PNG", "I;16"),
        "wrong ending.jpg": saved(photo, "PNG"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "gone.jpg").symlink_to(folder / "never.jpg")
    (folder / "folder.jpg").mkdir()
    return root


@pytest.fixture(scope="module")
def request_of_broken(broken: Path, make_request: Any) -> Request:
    return make_request(broken, "affectnet-folder", encoding="raw")


@pytest.fixture(scope="module")
def made(broken: Path, request_of_broken: Request, run_prepare: Any) -> Prepared:
    return run_prepare(request_of_broken, broken.parent / "out", max_rejected=0.05)


def stored(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    splits = ("train", "validation", "test")
    return {
        sample.id: sample.pixels
        for split in splits
        for sample in read_samples(folder, manifest, split, Opening("run", 1))
    }


def test_every_file_is_accounted_for(broken, made):
    everything = {path.relative_to(broken).as_posix() for path in broken.rglob("*") if not path.is_dir() or path.suffix}
    assert len(everything) == FACES + len(USABLE) + len(REASONS)
    pictures = stored(made.folder, made.manifest)
    named = pq.read_table(made.folder / REJECTED_NAME)
    reasons = {row["id"]: row["reason"] for row in named.to_pylist()}
    assert reasons == {f"train/Happy/{name}": reason for name, reason in REASONS.items()}
    assert named.num_rows == len(reasons)
    left_out = {name for name in everything if "/Contempt/" in name}
    assert sum(made.manifest.excluded.values()) == len(left_out) > 0
    assert pictures.keys() == everything - left_out - reasons.keys()
    assert (
        sum(map(sum, (row.values() for row in made.manifest.counts.values()))) == len(pictures) == made.manifest.total
    )
    assert made.manifest.rejected == {reason: [*REASONS.values()].count(reason) for reason in REASONS.values()}


def test_odd_files_that_hold_a_face_show_it(made):
    pictures = stored(made.folder, made.manifest)
    same = pictures[f"train/Happy/{USABLE[2]}"].astype(float)
    near = np.abs(pictures[f"train/Happy/{USABLE[0]}"] - same).mean()
    assert near < 12, "CMYK is near the colours"
    assert np.abs(pictures[f"train/Happy/{USABLE[1]}"] - same[:, :, 1:2]).max() == 0, "16 bits keep their upper 8"


def test_too_many_stop_the_run_and_a_larger_share_ends_it_at_once(
    broken, made, tmp_path, request_of_broken, run_prepare
):
    request, out = request_of_broken, tmp_path / "out"
    with pytest.raises(TooManyRejectedError) as caught:
        run_prepare(request, out, max_rejected=0.01)
    folder = folder_of(out, request)
    text = str(caught.value)
    assert "\n" not in text
    for words in ("8 of ", str(broken), "preparation.max_rejected=0.01", str(folder / REJECTED_NAME)):
        assert words in text
    assert sum(caught.value.reasons.values()) == len(REASONS)
    assert next(iter(caught.value.reasons)) == "not a JPEG, PNG, BMP or TIFF image", "the most frequent first"
    assert set(pq.read_table(folder / REJECTED_NAME)["reason"].to_pylist()) == set(REASONS.values())
    assert load_complete(folder, request.key) is None
    again = run_prepare(request, out, max_rejected=0.1)
    # the shard of the file that could not be opened is made again: it might be there now
    assert again.kept == len(again.manifest.shards) - 1
    assert 0 < again.bytes_in < made.bytes_in / 4
    assert set(litter(out)) == {f"{folder.name}/{name}" for name in (*contents(folder), MANIFEST_NAME)}
    assert contents(again.folder) == contents(made.folder), "every run judges the same"
    with pytest.raises(TooManyRejectedError, match="8 of "):
        run_prepare(request, out, max_rejected=0.01)


@pytest.mark.slow
def test_a_source_of_which_nothing_is_left_says_why(tmp_path, broken, make_request, run_prepare):
    root = tmp_path / "affectnet"
    shutil.copytree(broken, root, symlinks=True)
    for image in (root / "val").rglob("*.*"):
        image.write_bytes(b"")
    with pytest.raises(UserError, match=r"no test image is left \([0-9]+ x empty file\)") as caught:
        run_prepare(make_request(root, "affectnet-folder"), tmp_path / "out", max_rejected=1.0)
    assert not isinstance(caught.value, TooManyRejectedError)


# --- as a command


def ferlab_prepare(home: Path, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "HYDRA"))}
    return subprocess.run(
        [sys.executable, "-m", "ferlab", "prepare", "dataset=affectnet7", f"dataset.root={root}", *arguments],
        env=environment | {"FERLAB_HOME": str(home), "COLUMNS": "200"},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_the_command_shows_the_reasons_and_goes_on_when_more_is_allowed(broken, home):
    refused = ferlab_prepare(home, broken, "preparation.max_rejected=0.01")
    assert refused.returncode == 2, refused.stderr
    complaints = [line for line in refused.stderr.splitlines() if line.startswith("ferlab: ")]
    assert len(complaints) == 1, refused.stderr
    assert "preparation.max_rejected=0.01" in complaints[0]
    assert "Traceback" not in refused.stderr + refused.stdout
    for reason in REASONS.values():
        assert reason in refused.stdout + refused.stderr
    out = home / "result.json"
    done = ferlab_prepare(home, broken, "preparation.max_rejected=0.1", "--json", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["rejected"] == len(REASONS)
    assert result["shards_kept"] == len(list(Path(result["folder"]).glob("*.tfrecord"))) - 1
