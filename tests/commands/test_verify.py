"""``ferlab verify`` says what a copy is in its exit code, on the terminal, in --json and in the MLflow run."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferlab.commands.launch import Context
from ferlab.commands.verify import run
from ferlab.config.nodes import Compute, Dataset, Debug, Synthesize
from ferlab.config.schema import VerifyConfig
from ferlab.datasets.audit.scan import scan
from ferlab.datasets.fer2013.reader import locate, read
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import load, measure, save
from ferlab.datasets.listing import Reading
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import FER2013
from ferlab.errors import UserError

COUNT = 300
KEYS = {"verdict", "release", "known", "alarms", "counts", "images", "twins", "source", "layout", "run_id"}
Verify = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """300 drawn faces as fer2013.csv; read-only."""
    folder = tmp_path_factory.mktemp("drawn") / "clean"
    write_synthetic("fer2013-csv", folder, COUNT, 5)
    return folder


@pytest.fixture(scope="module")
def contaminated(tmp_path_factory, clean) -> Path:
    """The same faces split anew, with ten Training faces in PublicTest and one row whose pixels are none."""
    folder = tmp_path_factory.mktemp("drawn") / "contaminated"
    folder.mkdir()
    header, *lines = (clean / "fer2013.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    usages = np.random.default_rng(0).permutation([row[2] for row in cells])
    rows = [[*row[:2], str(usage)] for row, usage in zip(cells, usages, strict=True)]
    rows += [[*row[:2], "PublicTest"] for row in rows if row[2] == "Training"][:10]
    rows.append(["3", "1 2 3", "Training"])
    (folder / "fer2013.csv").write_text("\n".join([header, *(",".join(row) for row in rows), ""]))
    return folder


@pytest.fixture(scope="module")
def signature(tmp_path_factory, clean) -> Path:
    """The signature of the clean copy."""
    file = tmp_path_factory.mktemp("signature") / "ours.json"
    source = locate(clean)
    rows = read(source, Reading(FER2013))
    copy = Copy(source, rows, scan(rows.table, 2, lambda done, total: None))
    save(measure(copy, "ours", "ours", "fer2013", "measured by a test"), file)
    return file


def ferlab(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``ferlab verify dataset=fer2013 ...`` as a process of its own."""
    command = [sys.executable, "-m", "ferlab", "verify", "dataset=fer2013", "compute.cores=1", *arguments]
    environment = os.environ | {"FERLAB_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def verify(home) -> Verify:
    """``verify(root, name="fer2013", signature=None, ...)``: the command's plain function on a copy."""

    def call(root: Path | None, name: str = "fer2013", signature: Path | None = None, **more: Any) -> dict[str, Any]:
        written = more.pop("write_signature", None)
        dataset = Dataset(name, protocol="official", root=root and str(root), **more)
        config = VerifyConfig(
            study="tests",
            dataset=dataset,
            compute=Compute("local", cores=2),
            debug=Debug("none"),
            signature=signature and str(signature),
            write_signature=written and str(written),
        )
        return run(config, Context("verify", home, {"dataset": {"name": name, "root": str(root)}}))

    return call


def artifacts(home: Path, result: dict[str, Any]) -> dict[str, Path]:
    """Files of the MLflow run of a result, by their path below it."""
    (folder,) = home.rglob(f"{result['run_id']}/artifacts")
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


# --- the command line


def test_a_copy_that_is_what_it_should_be_exits_with_0(home, clean, signature, tmp_path):
    done = ferlab(home, f"dataset.root={clean}", f"signature={signature}", "--json", str(tmp_path / "out.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "verdict: official of ours" in done.stdout
    assert "300 images, 300 different" in done.stdout
    result = json.loads((tmp_path / "out.json").read_text())
    assert set(result) >= KEYS
    assert (result["verdict"], result["release"], result["alarms"]) == ("official", "ours", [])
    assert {part: sum(classes.values()) for part, classes in result["counts"].items()} == {
        "Training": 240,
        "PublicTest": 30,
        "PrivateTest": 30,
    }
    assert (result["layout"], result["source"]) == ("fer2013-csv", str(clean))


def test_a_contaminated_copy_exits_with_3_and_says_why(home, contaminated, signature, tmp_path):
    done = ferlab(home, f"dataset.root={contaminated}", f"signature={signature}", "--json", str(tmp_path / "out.json"))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr + done.stdout
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["verdict"] == "augmented-before-split"
    shown = " ".join((done.stdout + done.stderr).split())
    for words in (
        "the copy was split anew",
        "10 PublicTest images have the same pixels as a Training image",
        "1 files or rows cannot be used (1 x 3 pixels, expected 2304), first: 310",
        "more images than the release has",
    ):
        assert any(words in alarm for alarm in result["alarms"]), words
        assert words in shown
    assert result["unusable"] == [{"id": "310", "reason": "3 pixels, expected 2304"}]
    assert result["images"]["surplus"] == 10


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("dataset.root={tmp}/absent",), "absent: no such folder"),
        (("dataset.root={tmp}",), "no fer2013.csv"),
        (("dataset.root={clean}", "signature={tmp}/none.json"), "signature="),
        (("dataset.root={clean}", "signature={clean}/fer2013.csv"), "not a signature of ferlab"),
        ((), "dataset.root"),
    ],
    ids=["absent", "empty", "no signature", "not a signature", "no root"],
)
def test_mistakes_of_the_user_are_one_line_and_exit_with_2(home, clean, tmp_path, arguments, complaint):
    (tmp_path / "folder").mkdir()
    done = ferlab(home, *(text.format(tmp=tmp_path / "folder", clean=clean) for text in arguments))
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("ferlab: ")]) == 1
    assert "Traceback" not in done.stderr + done.stdout


# --- the result


def test_a_written_signature_recognises_its_copy_and_what_became_of_it(verify, clean, contaminated, tmp_path):
    written = tmp_path / "ours.json"
    first = verify(clean, write_signature=written)
    assert first["verdict"] == "unknown", "drawn faces are not FER-2013"
    made = load(written)
    assert (made.name, made.family, made.origin) == ("ours", "fer2013", f"measured on {clean}")
    assert {name: part.total for name, part in made.parts.items()} == {
        "Training": 240,
        "PublicTest": 30,
        "PrivateTest": 30,
    }
    assert verify(clean, signature=written)["verdict"] == "official"
    assert verify(contaminated, signature=written)["alarms"]


def test_a_signature_that_cannot_be_written_is_refused_before_anything_is_read(verify, clean, tmp_path):
    with pytest.raises(UserError, match=r"write_signature=.*nowhere is no folder that can be written"):
        verify(clean, write_signature=tmp_path / "nowhere" / "ours.json")


def test_a_signature_knows_the_copy_in_another_layout(verify, signature, tmp_path):
    write_synthetic("fer2013-icml", tmp_path / "icml", COUNT, 5)
    write_synthetic("fer2013-folder", tmp_path / "folder", COUNT, 5)
    assert verify(tmp_path / "icml", signature=signature)["verdict"] == "official"
    jpeg = verify(tmp_path / "folder", signature=signature)
    assert (jpeg["verdict"], jpeg["alarms"], jpeg["layout"]) == ("jpeg-reencode", [], "fer2013-folder")


def test_an_archive_is_verified_like_its_files(verify, clean, signature, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "faces"), "zip", clean)
    result = verify(Path(archive), signature=signature)
    assert (result["verdict"], result["source"]) == ("official", archive)


def test_drawn_faces_are_compared_with_no_release(verify):
    result = verify(None, "synthetic", layout="fer2013-csv", synthesize=Synthesize(100, 3))
    assert (result["verdict"], result["alarms"]) == ("unknown", [])
    assert result["images"]["total"] == 100


def test_votes_are_counted_beside_the_images(verify, tmp_path):
    write_synthetic("ferplus", tmp_path / "ferplus", COUNT, 5)
    result = verify(tmp_path / "ferplus", "ferplus")
    counted = result["votes"]
    assert sum(counted["counts"].values()) + sum(counted["excluded"].values()) + counted["rejected"] == COUNT
    assert counted["excluded"]["unknown by plurality of the votes"] > 0
    assert sum(sum(classes.values()) for classes in result["counts"].values()) == COUNT, "of all images"


def test_a_copy_without_any_image_is_refused(verify, tmp_path):
    (tmp_path / "train" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no image of any class"):
        verify(tmp_path)


def test_files_that_cannot_be_used_are_listed_and_an_alarm(verify, tmp_path):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 5)
    first, second = sorted((tmp_path / "faces/train/happy").iterdir())[:2]
    first.write_bytes(b"")
    second.write_bytes(b"<html>404</html>")
    (tmp_path / "faces/train/happy/notes.txt").write_text("x")
    result = verify(tmp_path / "faces")
    assert {item["id"]: item["reason"] for item in result["unusable"]} == {
        first.relative_to(tmp_path / "faces").as_posix(): "empty file",
        second.relative_to(tmp_path / "faces").as_posix(): "not a JPEG, PNG, BMP or TIFF image",
        "train/happy/notes.txt": "not an image file",
    }
    assert any(alarm.startswith("3 files or rows cannot be used") for alarm in result["alarms"])
    assert sum(sum(classes.values()) for classes in result["counts"].values()) == 98


def test_a_folder_that_was_split_anew_is_an_alarm_not_an_error(verify, tmp_path):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 5)
    file = next((tmp_path / "faces/train/happy").iterdir())
    file.rename(file.with_name("PublicTest_99999999.jpg"))
    assert any("split anew" in alarm for alarm in verify(tmp_path / "faces")["alarms"])


# --- the MLflow run


def test_the_run_holds_the_audit_the_duplicates_and_the_figures(verify, home, contaminated, signature):
    from mlflow import MlflowClient

    result = verify(contaminated, signature=signature)
    files = artifacts(home, result)
    assert json.loads(files["audit.json"].read_text()) | {"run_id": result["run_id"]} == result
    for name in ("class_counts", "faces", "twins"):
        figure = cv2.imread(str(files[f"figures/{name}.png"]), cv2.IMREAD_GRAYSCALE)
        assert min(figure.shape) > 100
        assert figure.std() > 10
    record = MlflowClient().get_run(result["run_id"])
    assert record.info.status == "FINISHED"
    assert record.data.tags["dataset.verdict"] == result["verdict"]
    assert record.data.tags["ferlab.stage"] == "verify"
    assert record.data.metrics["alarms"] == len(result["alarms"]) > 3
    assert record.data.metrics["images_surplus"] == 10
    assert record.data.params["dataset.root"] == str(contaminated)


def test_duplicates_csv_lists_every_row_of_every_group(verify, home, contaminated, signature):
    files = artifacts(home, verify(contaminated, signature=signature))
    with files["duplicates.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    equal = [row for row in rows if row["group"].startswith("equal-")]
    groups: dict[str, list[dict[str, str]]] = {}
    for row in equal:
        groups.setdefault(row["group"], []).append(row)
    assert len(groups) == 10
    text = (contaminated / "fer2013.csv").read_text().splitlines()[1:]
    for members in groups.values():
        assert len({text[int(row["id"])].split(",")[1] for row in members}) == 1
        assert {row["part"] for row in members} == {"Training", "PublicTest"}
        assert {float(row["correlation"]) for row in members} == {1.0}
        assert len({row["label"] for row in members}) == 1
    near = [row for row in rows if row["group"].startswith("near-")]
    assert len(near) % 2 == 0
    assert all(float(row["correlation"]) >= 0.95 for row in near)


def test_a_run_that_failed_is_recorded_as_failed(verify, home, tmp_path):
    from mlflow import MlflowClient

    (tmp_path / "fer2013.csv").write_text("emotion,pixels\n")
    with pytest.raises(UserError, match="no column usage"):
        verify(tmp_path)
    client = MlflowClient()
    runs = client.search_runs([item.experiment_id for item in client.search_experiments()])
    assert [(item.info.status, item.data.tags["ferlab.stage"]) for item in runs] == [("FAILED", "verify")]


def test_nothing_in_the_copy_is_changed(verify, clean):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in clean.rglob("*")}
    verify(clean)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in clean.rglob("*")} == before
