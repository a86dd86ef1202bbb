"""Videos as they come: damaged, cut short, with a rate that varies; every frame is read or counted."""

import cv2
import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.inference import video as reading
from ferlab.inference.video import Video, VideoOut

from .conftest import with_rate_that_varies


def read(file, **settings):
    with Video(file) as video:
        return list(video.frames(**settings)), video.counts


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")


@pytest.mark.parametrize(("name", "fourcc"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_every_frame_comes_with_its_time_and_its_colours(write_video, walk, name, fourcc):
    frames, counts = read(write_video(name, walk, fourcc, rate=20))
    assert [frame.number for frame in frames] == list(range(60))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 20 for number in range(60)], abs=1e-3)
    assert (counts.expected, counts.read, counts.unreadable, counts.missing) == (60, 60, 0, 0)
    assert np.abs(frames[40].pixels.astype(int) - walk[40]).mean() < 8


def test_frames_between_are_left_out_and_still_counted(write_video, walk):
    frames, counts = read(write_video("a.avi", walk), every=7)
    assert [frame.number for frame in frames] == list(range(0, 60, 7))
    assert counts.read == 60


def test_a_video_cut_short_is_read_as_far_as_it_goes(write_video, walk):
    file = write_video("a.avi", walk)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    frames, counts = read(file)
    assert 20 <= len(frames) <= 40
    assert counts.missing == 60 - len(frames) > 0


def test_damaged_frames_are_counted_and_the_others_read(write_video, walk):
    file = write_video("a.avi", walk)
    data = bytearray(file.read_bytes())
    middle = data.find(b"\xff\xd8", len(data) // 2)
    data[middle : data.find(b"\xff\xd9", middle)] = bytes(data.find(b"\xff\xd9", middle) - middle)
    file.write_bytes(data)
    frames, counts = read(file)
    assert counts.missing + counts.unreadable == 1
    assert len([frame for frame in frames if frame.pixels is not None]) == 59


def test_a_rate_that_varies_is_told_by_the_times(write_video, walk):
    file = write_video("a.mp4", walk, "mp4v", rate=20)
    file.write_bytes(with_rate_that_varies(file.read_bytes(), 60))
    frames, counts = read(file)
    steps = np.diff([frame.time_s for frame in frames])
    assert counts.read == 60
    assert np.allclose(steps[:29], 0.05, atol=2e-3)
    assert np.allclose(steps[31:], 0.15, atol=2e-3)


@pytest.mark.parametrize("content", [b"", b"no video" * 1000, b"\0\0\0\x18ftypmp42" + bytes(5000)])
def test_what_is_no_video_is_said(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match="not a video that can be read"):
        Video(tmp_path / "a.mp4")


def test_a_camera_that_is_not_there_is_said():
    with pytest.raises(UserError, match="no camera"):
        Video(77)


def test_a_written_video_can_be_read_again(tmp_path, walk):
    with VideoOut(tmp_path / "out.mp4", (320, 240), 20) as out:
        for number, frame in enumerate(walk[:20]):
            out.write(frame, number / 20)
        out.write(cv2.resize(walk[20], (64, 48)), 1.0)
    frames, _ = read(tmp_path / "out.mp4")
    assert len(frames) == 21
    assert frames[20].pixels.shape == (240, 320, 3)
    assert np.abs(frames[5].pixels.astype(int) - walk[5]).mean() < 8


@pytest.mark.parametrize("rate", [30_000 / 1001, 66.667, 71.4286, 119.937, 1000.5])
def test_every_rate_can_be_written(tmp_path, walk, rate):
    with VideoOut(tmp_path / "out.mp4", (320, 240), rate) as out:
        for number, frame in enumerate(walk[:10]):
            out.write(frame, number / rate)
    frames, _ = read(tmp_path / "out.mp4")
    assert len(frames) == pytest.approx(10, abs=1)


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ([5.0, 5.05, 5.3, 5.35], [0, 1, 1, 1, 1, 1, 2, 3]),
        ([0.0, 0.01, 0.02, 0.05, 0.06], [0, 3]),
        ([0.0, 100.0, 100.05], [0] * 1201 + [1, 2]),
    ],
)
def test_a_written_video_keeps_the_time_of_its_frames(tmp_path, times, shown):
    shades = [np.full((48, 64, 3), 40 * number + 20, np.uint8) for number in range(len(times))]
    with VideoOut(tmp_path / "out.mp4", (64, 48), 20) as out:
        for shade, time_s in zip(shades, times, strict=True):
            out.write(shade, time_s)
    frames, _ = read(tmp_path / "out.mp4")
    assert [round((frame.pixels.mean() - 20) / 40) for frame in frames] == shown


class Faltering:
    """A camera that gives nothing at some attempts; afterwards the frames of a file."""

    def __init__(self, capture, silent):
        self.capture, self.silent, self.attempts = capture, silent, 0

    def __getattr__(self, name):
        return getattr(self.capture, name)

    def grab(self):
        self.attempts += 1
        return self.attempts not in self.silent and self.capture.grab()


def test_a_camera_is_asked_again_for_a_while(write_video, walk, monkeypatch):
    monkeypatch.setattr(reading, "CAMERA_PAUSE_S", 0.001)
    monkeypatch.setattr(reading, "CAMERA_WAIT_S", 1.0)
    with Video(write_video("a.avi", walk)) as video:
        video.is_camera = True
        video._capture = Faltering(video._capture, set(range(5, 40)))
        assert len(list(video.frames())) == 60
        assert video.counts.ended
        assert video._capture.attempts > 150


def test_a_file_that_does_not_say_its_length_is_asked_again_too(write_video, walk):
    with Video(write_video("a.avi", walk)) as video:
        video.counts.expected = None
        video._capture = Faltering(video._capture, {20, 21})
        assert len(list(video.frames())) == 60
        assert (video.counts.missing, video.counts.ended) == (0, True)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        VideoOut(tmp_path / "missing" / "out.mp4", (320, 240), 20)
