"""What lies in the folder afterwards, read with other readers, and that it took no more memory for being long."""

import json

import cv2
import numpy as np
import pandas as pd
import psutil
import pytest

from ferlab.errors import UserError
from ferlab.inference.outputs import inside, remove_earlier, write_annotated
from ferlab.inference.predictor import Predictor
from ferlab.inference.recording import VideoSettings, _answers, record_photos, record_video
from ferlab.inference.timeline import MOST_STEPS, Curve
from ferlab.inference.video import Counts, Frame, Video

from .conftest import scene, with_rate_that_varies

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.fixture
def predictor(small_model):
    return Predictor(small_model, threads=2, abstain_below=0.3)


def recorded(predictor, file, folder, **settings):
    folder.mkdir(exist_ok=True)
    with Video(file) as video:
        return record_video(predictor, video, file.name, folder, VideoSettings(**settings), lambda done, total: None)


def test_tables_of_a_video_hold_every_face_with_its_person(predictor, write_video, walk, tmp_path):
    summary, counts = recorded(predictor, write_video("walk.avi", walk), tmp_path / "out", smooth="exponential")
    assert (counts["read"], counts["scored"], counts["people"], counts["missing"]) == (60, 60, 2, 0)
    assert (summary.pictures, summary.faces) == (60, 90)
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert rows["person"].value_counts().to_dict() == {1: 60, 2: 30}
    assert rows.loc[rows["person"] == 2, "frame"].tolist() == list(range(30, 60))
    assert np.allclose(rows[[f"p_{name}" for name in CLASSES]].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(rows[[f"smoothed_{name}" for name in CLASSES]].sum(axis=1), 1, atol=1e-5)
    assert np.diff(rows.loc[rows["person"] == 1, "x"]).mean() == pytest.approx(1, abs=0.1)
    first = rows[rows["person"] == 1]
    assert first[[f"smoothed_{name}" for name in CLASSES]].diff().abs().mean().sum() < 0.5 * (
        first[[f"p_{name}" for name in CLASSES]].diff().abs().mean().sum()
    )
    said = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert said["classes"] == CLASSES
    assert "as perceived by annotators" in said["meaning"]
    assert [len(one["faces"]) for one in said["pictures"]] == [1] * 30 + [2] * 30
    face = said["pictures"][40]["faces"][1]
    row = rows[(rows["frame"] == 40) & (rows["person"] == face["person"])].iloc[0]
    assert face["probabilities"]["sad"] == pytest.approx(row["p_sad"], abs=1e-6)
    assert (face["label"] or "") == ("" if pd.isna(row["label"]) else row["label"])


def test_timelines_are_by_frame_and_by_person(predictor, write_video, walk, tmp_path):
    recorded(predictor, write_video("walk.avi", walk), tmp_path / "out", smooth="none", every=5)
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert "smoothed_sad" not in rows
    frames = pd.read_csv(tmp_path / "out" / "timeline.csv")
    assert frames["frame"].tolist() == list(range(0, 60, 5))
    assert frames["faces"].tolist() == [1] * 6 + [2] * 6
    means = rows.groupby("frame")[[f"p_{name}" for name in CLASSES]].mean().to_numpy()
    assert np.allclose(frames[CLASSES], means, atol=2e-6)
    people = pd.read_csv(tmp_path / "out" / "people.csv").set_index("person")
    assert people.loc[2, ["first_s", "last_s", "frames"]].tolist() == pytest.approx([30 / 25, 55 / 25, 6])
    of_second = rows[rows["person"] == 2]
    assert people.loc[2, "mean_sad"] == pytest.approx(of_second["p_sad"].mean(), abs=2e-6)
    assert people.loc[1, [f"frames_{name}" for name in CLASSES] + ["frames_unsure"]].sum() == 12
    assert cv2.imread(str(tmp_path / "out" / "timeline.png")).shape[0] > 300


def test_frames_without_a_face_and_those_that_cannot_be_decoded_are_rows_with_a_problem(
    predictor, write_video, tmp_path
):
    empty = [scene([], width=320, height=240)] * 10
    summary, _ = recorded(predictor, write_video("empty.avi", empty), tmp_path / "out")
    assert summary.problems == {"no face found": 10}
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert rows["problem"].tolist() == ["no face found"] * 10
    assert rows["p_sad"].isna().all()


@pytest.mark.parametrize("every", [1, 4])
def test_the_annotated_video_has_every_frame_with_a_frame_around_the_face(
    predictor, write_video, walk, tmp_path, every
):
    recorded(predictor, write_video("walk.avi", walk), tmp_path / "out", annotate=True, every=every)
    with Video(tmp_path / "out" / "annotated.mp4") as video:
        frames = list(video.frames())
    assert len(frames) == 60
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv").query("frame == 20 and person == 1").iloc[0]
    left, top = int(rows["x"]), int(rows["y"])
    edge = frames[20].pixels[top + 40 : top + 80, left - 1 : left + 2].mean(axis=(0, 1))
    before = walk[20][top + 40 : top + 80, left - 1 : left + 2].mean(axis=(0, 1))
    assert np.abs(edge - before).max() > 25


def test_the_annotated_video_takes_as_long_as_one_whose_rate_varies(predictor, write_video, walk, tmp_path):
    file = write_video("walk.mp4", walk, "mp4v", rate=20)
    file.write_bytes(with_rate_that_varies(file.read_bytes(), 60))
    with Video(file) as video:
        last, rate = list(video.frames())[-1].time_s, video.rate
    recorded(predictor, file, tmp_path / "out", annotate=True)
    with Video(tmp_path / "out" / "annotated.mp4") as video:
        assert len(list(video.frames())) / rate == pytest.approx(last, abs=0.2)


class LongVideo:
    """Frames that are small, of a video that says it is of another size; ``read`` counts them."""

    is_camera, rate = False, 25.0

    def __init__(self, size, frames):
        self.size, self.length, self.read, self.counts = size, frames, 0, Counts(frames)

    def frames(self, every, wanted):
        assert wanted
        for number in range(self.length):
            self.read += 1
            yield Frame(number, number / self.rate, np.zeros((24, 32, 3), np.uint8))


class CountingOut:
    """Counts the frames that are written."""

    def __init__(self):
        self.times = []

    def write(self, pixels, time_s):
        self.times.append(time_s)


@pytest.mark.parametrize(
    ("size", "every", "most"),
    [((320, 240), 1, 20), ((1920, 1080), 1, 10), ((1920, 1080), 3, 10), ((1920, 1080), 50, 2), ((8000, 6000), 7, 2)],
)
def test_few_large_frames_wait_to_be_drawn_on_whatever_lies_between_the_scored_ones(small_model, size, every, most):
    video, out, held = LongVideo(size, 200), CountingOut(), []
    settings = VideoSettings(every=every, annotate=True)
    for answer in _answers(Predictor(small_model, threads=2), video, "long", settings, out):
        assert answer.frame % every == 0
        held.append(video.read - len(out.times))
    assert max(held) <= most
    assert out.times == [number / 25 for number in range(200)]


def test_a_person_in_view_keeps_the_number_however_few_frames_are_scored(predictor, write_video, tmp_path):
    still = [scene([(100, 60, 100)], width=320, height=240)] * 150
    _, counts = recorded(predictor, write_video("still.avi", still), tmp_path / "out", every=50)
    assert (counts["scored"], counts["people"]) == (3, 1)


def test_an_earlier_prediction_is_removed_and_nothing_else(predictor, write_video, walk, tmp_path):
    (tmp_path / "annotated" / "sub").mkdir(parents=True)
    for name in ("notes.txt", "annotated/sub/a.png.jpg", "annotated/mine.jpg", "predictions.csv", "timeline.png"):
        (tmp_path / name).write_text("x")
    (tmp_path / "predictions.json").write_text('{"input": "of another program", "pictures": 3}')
    remove_earlier(tmp_path, None)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 6
    recorded(predictor, write_video("walk.avi", walk[:3]), tmp_path, annotate=True)
    with pytest.raises(UserError, match=r"annotated.mp4: an earlier prediction wrote it"):
        remove_earlier(tmp_path, tmp_path / "annotated.mp4")
    remove_earlier(tmp_path, tmp_path / "walk.avi")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "annotated/mine.jpg", "walk.avi"}


def test_photos_that_cannot_be_read_are_rows_too_and_pictures_are_drawn_on(predictor, tmp_path):
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for name in ("one.png", "one.bmp", "sub/one.png"):
        cv2.imwrite(str(photos / name), cv2.cvtColor(scene([(220, 100, 200)]), cv2.COLOR_RGB2BGR))
    (photos / "bad.png").write_bytes(b"nothing")
    out = tmp_path / "out"
    out.mkdir()
    seen = []
    answers = predictor.folder(photos, keep_pixels=True)
    summary = record_photos(predictor, answers, 4, str(photos), out, True, lambda done, total: None, seen.append)
    assert (summary.pictures, summary.faces, sum(summary.problems.values())) == (4, 3, 1)
    drawn = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))
    assert drawn == ["annotated/one.bmp.jpg", "annotated/one.png.jpg", "annotated/sub/one.png.jpg"]
    picture = cv2.cvtColor(cv2.imread(str(out / drawn[0])), cv2.COLOR_BGR2RGB)
    assert np.abs(picture.astype(int) - scene([(220, 100, 200)])).max() > 60
    assert len(pd.read_csv(out / "predictions.csv")) == 4


@pytest.mark.parametrize("name", ["../../up.png", "/etc/passwd", "a/../../b.png", "..", "C:/x.png"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    assert inside(tmp_path, name).resolve().is_relative_to(tmp_path)


def test_an_answer_without_pixels_cannot_be_drawn_on(predictor, tmp_path):
    answer = predictor.pixels(scene([(220, 100, 200)]))
    with pytest.raises(ValueError, match="no picture"):
        write_annotated(tmp_path, answer, predictor.description)


@pytest.mark.parametrize("is_camera", [True, False])
def test_a_camera_ends_by_an_interrupt_with_all_its_tables_and_a_file_does_not(
    predictor, write_video, walk, tmp_path, is_camera
):
    def on_progress(done, total):
        if done == 10:
            raise KeyboardInterrupt

    with Video(write_video("walk.avi", walk)) as video:
        video.is_camera = is_camera
        arguments = (predictor, video, "walk", tmp_path, VideoSettings(), on_progress)
        if not is_camera:
            with pytest.raises(KeyboardInterrupt):
                record_video(*arguments)
            assert json.loads((tmp_path / "predictions.json").read_text())["complete"] is False
            return
        summary, _ = record_video(*arguments)
    assert summary.pictures == 10
    said = json.loads((tmp_path / "predictions.json").read_text())
    assert (len(said["pictures"]), said["complete"]) == (10, True)
    assert len(pd.read_csv(tmp_path / "people.csv")) == 1


def test_a_video_is_watched_for_so_many_seconds(predictor, write_video, walk, tmp_path):
    summary, counts = recorded(predictor, write_video("walk.avi", walk), tmp_path / "out", seconds=1.0)
    assert summary.pictures == 26
    assert (counts["expected"], counts["scored"], counts["missing"]) == (60, 26, 0)


def test_a_curve_keeps_the_means_while_its_steps_grow():
    rng, curve = np.random.default_rng(0), Curve(2, step_s=0.1)
    times, values = np.sort(rng.uniform(0, 3000, 5000)), rng.uniform(size=(5000, 2))
    for time_s, value in zip(times, values, strict=True):
        curve.add(time_s, value)
    middles, means = curve.points()
    assert len(middles) <= MOST_STEPS
    assert curve.step_s == pytest.approx(6.4)
    step = (times / curve.step_s).astype(int)
    expected = np.array([values[step == one].mean(axis=0) for one in np.unique(step)])
    assert np.allclose(means, expected)
    assert np.allclose(middles, (np.unique(step) + 0.5) * curve.step_s)


def test_memory_does_not_grow_with_the_video(predictor, write_video, walk, tmp_path):
    used = []
    file = write_video("long.avi", walk * 20)
    (tmp_path / "out").mkdir()
    with Video(file) as video:
        record_video(
            predictor, video, "long", tmp_path / "out", VideoSettings(every=5),
            lambda done, total: used.append(psutil.Process().memory_info().rss / 1e6),
        )  # fmt: skip
    assert len(used) == 240
    assert np.mean(used[-60:]) - np.mean(used[60:120]) < 15
