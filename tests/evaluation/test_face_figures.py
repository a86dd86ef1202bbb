"""Figures of faces show the pixels they were given, in their places, under the right words."""

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from ferlab.evaluation.face_figures import Mistake, augmented_figure, mistakes_figure, most_confident_mistakes
from ferlab.predictions import Predictions

CLASSES = ("angry", "happy", "neutral")


def predictions() -> Predictions:
    """Five samples; rows 1, 2 and 4 are wrong, with .6, .9 and .9."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.05, 0.9, 0.05], [0, 0, 1], [0.9, 0.1, 0]])
    labels = np.array([0, 0, 2, 2, 1])
    ids = tuple("abcde")
    return Predictions(ids, labels, probabilities, CLASSES, "validation", "three", "fer2013/carved", "d", "run")


def drawn(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def test_the_surest_mistakes_come_first_and_right_answers_never() -> None:
    assert most_confident_mistakes(predictions(), 10) == [
        Mistake(2, "neutral", "happy", 0.9),
        Mistake(4, "happy", "angry", 0.9),
        Mistake(1, "angry", "happy", 0.6),
    ]
    assert [mistake.row for mistake in most_confident_mistakes(predictions(), 2)] == [2, 4]


def test_labels_alone_have_no_probability_above_the_face() -> None:
    hard = replace(predictions(), probabilities=np.eye(3)[predictions().predicted], hard=True)
    mistakes = most_confident_mistakes(hard, 2)
    assert mistakes == [Mistake(1, "angry", "happy", None), Mistake(2, "neutral", "happy", None)]
    figure = mistakes_figure(np.zeros((2, 8, 8, 1), np.uint8), mistakes, None, "title")
    assert figure.axes[0].texts[0].get_text() == "happy\nannotated angry"


def test_an_original_stands_left_of_its_own_versions() -> None:
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    augmented = rng.integers(0, 256, (2, 3, 8, 8, 1)).astype(np.float32)
    figure = augmented_figure(originals, augmented, "light")
    faces = figure.axes[0].images
    expected = [originals[0], *augmented[0], originals[1], *augmented[1]]
    for face, wanted in zip(faces, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(face.get_array()), wanted.squeeze().astype(np.uint8))
    lefts = [face.get_extent()[0] for face in faces]
    assert lefts[:4] == sorted(lefts[:4]) == lefts[4:]
    assert len({face.get_extent()[2] for face in faces[:4]}) == 1
    assert faces[4].get_extent()[3] > faces[0].get_extent()[2] - 0.1, "the second row lies below the first"
    assert [text.get_text() for text in figure.axes[0].texts] == ["original", "augmented"]
    assert [text.get_position()[0] for text in figure.axes[0].texts] == pytest.approx(lefts[:2])
    assert figure.get_suptitle() == "light"
    assert drawn(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4])
def test_a_mistake_stands_beside_its_map_under_its_words(channels: int, count: int) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)
    maps = rng.random((count, 8, 8)).astype(np.float32)
    mistakes = [Mistake(i, "happy", "angry", 0.914 - i / 10) for i in range(count)]
    figure = mistakes_figure(images, mistakes, maps, "seq1")
    shown, words = figure.axes[0].images, figure.axes[0].texts
    for place in range(count):
        face, again, overlay = shown[3 * place : 3 * place + 3]
        assert words[place].get_text() == f"angry {91 - 10 * place} %\nannotated happy"
        assert words[place].get_position()[0] == pytest.approx(face.get_extent()[0])
        for one in (face, again):
            np.testing.assert_array_equal(np.asarray(one.get_array()), images[place].squeeze())
        np.testing.assert_allclose(np.asarray(overlay.get_array()), maps[place])
        assert overlay.get_extent() == again.get_extent()
        assert again.get_extent()[0] > face.get_extent()[1] - 0.1
    assert drawn(figure).startswith(b"\x89PNG")


def test_where_nothing_speaks_for_a_category_the_face_shows_unchanged() -> None:
    image = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
    figure = mistakes_figure(image, [Mistake(0, "happy", "angry", 0.9)], np.zeros((1, 8, 8)), "seq1")
    assert np.asarray(figure.axes[0].images[2].get_alpha()).max() == 0


def test_a_network_without_mistakes_has_an_empty_figure() -> None:
    figure = mistakes_figure(np.zeros((0, 8, 8, 1), np.uint8), [], np.zeros((0, 8, 8)), "seq1")
    assert not figure.axes[0].images
    assert drawn(figure).startswith(b"\x89PNG")


def test_drawing_leaves_no_figure_open_in_pyplot() -> None:
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    augmented_figure(np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 2, 8, 8, 1), np.uint8), "title")
    assert plt.get_fignums() == before
