"""Answers in order and independent of how pictures were batched; only a few pictures in memory at a time."""

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.inference.answers import NO_FACE
from ferlab.inference.detection import FaceDetector, Found
from ferlab.inference.faces import images_of, settings_of
from ferlab.inference.pipeline import Looking, Picture, Pipeline

from .conftest import SmallModel, scene

PLACES = ([(200, 120, 200)], [], [(20, 20, 150), (300, 200, 180)], [(100, 100, 240)], [])


def pictures(times=1):
    return [Picture(str(n), scene(PLACES[n % 5], first=n % 5)) for n in range(5 * times)]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_and_threads_change_no_number_and_no_order(threads):
    alone = [Pipeline(SmallModel(), Looking()).answer(picture) for picture in pictures()]
    together = list(Pipeline(SmallModel(), Looking(), threads).answers(pictures(), lambda one: one))
    assert [one.source for one in together] == list("01234")
    assert [len(one.faces) for one in together] == [1, 0, 2, 1, 0]
    assert [one.problem for one in together] == ["", NO_FACE, "", "", NO_FACE]
    for one, other in zip(alone, together, strict=True):
        for face, same in zip(one.faces, other.faces, strict=True):
            assert np.array_equal(face.probabilities, same.probabilities)
            assert face.found.box == same.found.box


def test_every_face_has_the_answer_for_its_own_crop():
    model = SmallModel()
    pipeline = Pipeline(model, Looking())
    (answer,) = pipeline.answers([Picture("a", scene(PLACES[2]))], lambda one: one)
    found = [face.found for face in answer.faces]
    images = images_of(scene(PLACES[2])[:, :, :], found, settings_of(SmallModel(colour="rgb").description))[1]
    assert images.shape == (2, 48, 48, 3)
    for face in answer.faces:
        assert np.array_equal(model.probabilities(face.crop[None])[0], face.probabilities)
    assert not np.array_equal(answer.faces[0].probabilities, answer.faces[1].probabilities)


def test_faces_of_several_pictures_are_answered_at_once():
    model = SmallModel()
    list(Pipeline(model, Looking()).answers(pictures(), lambda one: one))
    assert model.batches == [4]


def test_no_more_than_a_few_pictures_are_read_ahead():
    read, ahead = [], []

    def load(number):
        read.append(number)
        return Picture(str(number), scene([]))

    for done, _ in enumerate(Pipeline(SmallModel(), Looking(), 2).answers(range(200), load)):
        ahead.append(len(read) - done)
    assert len(read) == 200
    assert max(ahead) <= 16 + 2 + 2 + 1


def test_live_pictures_are_answered_one_by_one():
    read = []

    def load(number):
        read.append(number)
        return Picture(str(number), scene([]))

    answers = Pipeline(SmallModel(), Looking(), 1).answers(iter(range(10)), load, batch=1)
    for count, _ in enumerate(answers, 1):
        assert len(read) == count, "answered before the next is read"


def test_pixels_are_kept_only_when_they_are_asked_for():
    for keep in (False, True):
        (answer,) = Pipeline(SmallModel(), Looking()).answers(pictures()[:1], lambda one: one, keep_pixels=keep)
        assert (answer.pixels is not None) == keep
        assert (answer.width, answer.height) == (640, 480)


def test_whole_pictures_are_faces_whatever_they_show():
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    answer = Pipeline(SmallModel(), Looking(whole=True)).answer(Picture("a", noise))
    assert len(answer.faces) == 1
    assert answer.faces[0].found is None
    with pytest.raises(UserError, match=r"faces.whole=true: the model takes faces aligned by landmarks"):
        Pipeline(SmallModel(align=True), Looking(whole=True))


def test_faces_that_cannot_be_cut_out_are_said(monkeypatch):
    pixels = scene(PLACES[2])
    found = FaceDetector().find(pixels)
    bad = [Found((10.0, 10.0, 40.0, 40.0), 0.9, np.full((5, 2), 30.0))] * 2
    pipeline = Pipeline(SmallModel(align=True), Looking())
    for faces, said in ((bad, "2 faces could not be cut out"), ([*found, bad[0]], "1 face could not be cut out")):
        monkeypatch.setattr(FaceDetector, "find", lambda *_, faces=faces: faces)
        answer = pipeline.answer(Picture("a", pixels))
        assert (answer.problem, len(answer.faces)) == (said, len(faces) - int(said[0]))
