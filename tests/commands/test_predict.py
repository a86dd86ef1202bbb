"""``predict``: command, Python and the exported file say the same; what cannot be done is said in one line."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from ferlab.commands.predict import lacking, run, source_of
from ferlab.config.edge_nodes import Faces, VideoScoring
from ferlab.config.nodes import Compute
from ferlab.config.schema import PredictConfig
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.edge.export import EXPORTS, Target, export_file
from ferlab.errors import UserError
from ferlab.inference.abstention import confidence_needed
from ferlab.inference.describing import description_of
from ferlab.inference.predictor import Predictor, exported
from ferlab.predictions import Predictions
from ferlab.tracking.records import add_file, find_run


def asked(place: str | Path, **settings: Any) -> PredictConfig:
    defaults = {"faces": Faces(), "video": VideoScoring(), "compute": Compute("local", cores=1)}
    return PredictConfig(input=str(place), **{**defaults, **settings})


def photo(first: int) -> np.ndarray:
    pixels = np.full((360, 640, 3), 128, np.uint8)
    for position, side in enumerate((160, 220)):
        x = 60 + 280 * position
        pixels[60 : 60 + side, x : x + side] = draw_face(sample_face(3, first + position), side, "rgb")
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.jpg"), photo(2 * number))
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture
def place(recorded: Any) -> Any:
    return recorded("predict")


def probabilities(folder: Path) -> np.ndarray:
    rows = pd.read_csv(folder / "predictions.csv").dropna(subset=["confidence"])
    return rows[[name for name in rows if name.startswith("p_")]].to_numpy()


def test_command_python_and_litert_say_the_same(place: Any, photos: Path, tmp_path: Path) -> None:
    run_id = place.train("a", 0)
    result = run(asked(photos, run=run_id, out=str(tmp_path / "keras")), place.context)
    assert (result["pictures"], result["faces"], result["run_id"]) == (4, 6, run_id)
    assert result["problems"] == {"empty file": 1}
    by_command = probabilities(tmp_path / "keras")

    predictor = Predictor.from_run(run_id)
    by_python = [face.probabilities for answer in predictor.folder(photos) for face in answer.faces]
    assert np.allclose(by_python, by_command, atol=1e-6)
    alone = [face.probabilities for name in range(3) for face in predictor.photo(photos / f"{name}.jpg").faces]
    assert np.allclose(alone, by_command, atol=1e-6)

    record = find_run(run_id)
    file = export_file(record.load_model(), description_of(record), Target("litert", "float32"), tmp_path)
    run(asked(photos, model=str(file), out=str(tmp_path / "litert")), place.context)
    assert np.allclose(probabilities(tmp_path / "litert"), by_command, atol=1e-5)
    assert np.abs(by_command[0] - by_command[1]).max() > 1e-4, "faces are told apart"

    add_file(run_id, file, EXPORTS)
    run(asked(photos, run=run_id, runtime="litert", out=str(tmp_path / "run-litert")), place.context)
    assert np.allclose(probabilities(tmp_path / "run-litert"), by_command, atol=1e-5)
    with pytest.raises(UserError, match=f"ferlab export run={run_id} format=litert precision=int8"):
        Predictor.from_run(run_id, "litert-int8")
    with pytest.raises(UserError, match="runtime=tpu: unknown"):
        Predictor.from_run(run_id, "tpu")


def test_a_run_abstains_below_what_its_validation_asks_for(place: Any, photos: Path, tmp_path: Path) -> None:
    run_id = place.train("a", 0)
    stored = Predictions.load(find_run(run_id).artifact("predictions/validation.parquet"))
    needed = confidence_needed(stored.probabilities, stored.labels)
    run(asked(photos, run=run_id, out=str(tmp_path / "out")), place.context)
    said = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert said["model"]["abstain_below"] == needed
    faces = [face for one in said["pictures"] for face in one["faces"]]
    assert {face["label"] for face in faces if face["confidence"] < needed} <= {None}
    record = find_run(run_id)
    add_file(
        run_id, export_file(record.load_model(), description_of(record), Target("litert", "float32"), tmp_path), EXPORTS
    )
    for named in ({"run": run_id, "runtime": "litert"}, {"run": run_id, "runtime": "litert-float32"}):
        run(asked(photos, out=str(tmp_path / "litert"), **named), place.context)
        told = json.loads((tmp_path / "litert" / "predictions.json").read_text())
        assert told["model"]["abstain_below"] == needed
        assert [face["label"] for one in told["pictures"] for face in one["faces"]] == [face["label"] for face in faces]
    always = run(asked(photos, run=run_id, out=str(tmp_path / "always"), abstain_below=0.0), place.context)
    assert (always["unsure"], sum(always["categories"].values())) == (0, 6)


def test_of_a_renamed_run_the_newest_export_answers(place: Any, tmp_path: Path) -> None:
    record = find_run(place.train("a", 0))
    for age, name in enumerate(("new-float32.tflite", "old-float32.tflite", "new-int8.tflite", "new-float32.onnx")):
        (tmp_path / name).write_bytes(b"")
        add_file(record.id, tmp_path / name, EXPORTS)
        os.utime(record.artifact(f"{EXPORTS}/{name}"), (1e9 - age, 1e9 - age))
    assert exported(record, "litert").name == "new-float32.tflite"
    add_file(record.id, tmp_path / "old-float32.tflite", EXPORTS)
    assert exported(replace(record, name="old"), "litert-float32").name == "old-float32.tflite"
    with pytest.raises(UserError, match="has no such export"):
        exported(record, "litert-float16")


def test_a_video_leaves_its_timelines_and_says_what_is_missing(place: Any, tmp_path: Path) -> None:
    file = tmp_path / "$a_$.avi"  # what matplotlib would set as a formula
    out = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 360))
    for _ in range(20):
        out.write(photo(0))
    out.release()
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    video = VideoScoring(every=2, smooth="hmm")
    config = asked(file, run=place.train("a", 0), out=str(tmp_path / "out"), video=video, annotate=True)
    result = run(config, place.context)
    frames = result["frames"]
    assert frames["expected"] == 20
    assert frames["missing"] == 20 - frames["read"] > 0
    assert frames["people"] == 2
    assert result["faces"] == 2 * frames["scored"]
    assert f"{frames['missing']} of 20 frames are missing" in place.printed.getvalue()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "predictions.json", "predictions.csv", "timeline.csv", "people.csv", "timeline.png", "annotated.mp4",
    }  # fmt: skip


def test_a_name_that_is_no_utf8_is_one_of_a_folder(place: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "1.jpg").rename(photos / os.fsdecode(b"b\xff.jpg"))
    config = asked(photos, run=place.train("a", 0), out=str(tmp_path / "out"), annotate=True)
    assert run(config, place.context)["pictures"] == 4
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert {"0.jpg", "2.jpg", "b\\udcff.jpg", "empty.png"} == set(rows["source"])
    assert "b\\udcff.jpg: " in place.printed.getvalue()


def test_an_input_without_pictures_leaves_earlier_answers(place: Any, photos: Path, tmp_path: Path) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    trained = place.train("a", 0)
    run(asked(photos, run=trained, out=str(out)), place.context)
    with pytest.raises(UserError, match="no photo in it"):
        run(asked(empty, run=trained, out=str(out)), place.context)
    assert (out / "predictions.csv").exists()


def test_answers_go_below_home_when_no_folder_is_named(place: Any, photos: Path) -> None:
    result = run(asked(photos / "0.jpg", run=place.train("a", 0)), place.context)
    assert result["folder"] == str(place.context.home / "predictions" / "0.jpg")
    assert "0.jpg: " in place.printed.getvalue()


def test_a_model_of_a_stranger_is_not_loaded(place: Any, photos: Path, tmp_path: Path) -> None:
    import keras

    (tmp_path / "bad.tflite").write_bytes(b"TFL3" * 100)
    keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x)]).save(
        tmp_path / "code.keras"
    )
    for name in ("bad.tflite", "code.keras", "gone.onnx", "model.h5"):
        with pytest.raises(UserError, match=name):
            run(asked(photos, model=str(tmp_path / name), out=str(tmp_path / "out")), place.context)


@pytest.mark.parametrize(
    ("missing", "expected", "unreadable", "said"),
    [
        (0, None, 3, "3 frames could not be decoded"),
        (2000, 9000, 0, "2,000 of 9,000 frames are missing (cut short or damaged)"),
        (1, 9, 2, "1 of 9 frames are missing (cut short or damaged), 2 frames could not be decoded"),
    ],
)
def test_what_a_video_lacks_is_said_as_far_as_it_is_known(
    missing: int, expected: int | None, unreadable: int, said: str
) -> None:
    assert lacking({"missing": missing, "expected": expected, "unreadable": unreadable}) == said


@pytest.mark.parametrize(("text", "number"), [("camera", 0), ("camera:3", 3)])
def test_cameras_are_named_by_number(text: str, number: int) -> None:
    assert source_of(text) == number


def test_inputs_that_are_not_there_or_no_pictures_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        source_of(str(tmp_path / "gone.jpg"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="neither a photo"):
        source_of(str(tmp_path / "notes.txt"))


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["input=a.jpg"], "run: give run=ID, or model=FILE"),
        (["input=a.jpg", "run=a", "model=b.tflite"], "run: give run=ID, or model=FILE"),
        (["input=a.jpg", "model=b.tflite", "runtime=litert"], "runtime: is of a run's exports"),
        (["input=a.jpg", "run=a", "runtime=tpu"], "runtime: tpu is not among litert, litert-float32"),
        (["run=a"], "input: must be given"),
        (["input=a.jpg", "run=a", "video.smooth=mean"], "video.smooth: must be one of none, exponential, hmm"),
        (["input=a.jpg", "run=a", "faces.whole=yes", "faces.seen_px=8"], "faces.seen_px: must lie in 64..4096"),
    ],
)
def test_settings_that_cannot_work_are_said(overrides: list[str], said: str, home: Path) -> None:
    from hydra import compose

    from ferlab.commands.launch import machine_facts
    from ferlab.config.validate import validate

    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        validate(compose("predict", overrides), PredictConfig, machine_facts())
