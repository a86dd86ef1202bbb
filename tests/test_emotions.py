"""Class orders: the published ids of every data set, and no way to mix two orders up."""

import numpy as np
import pytest

from ferlab.emotions import (
    AFFECTNET7,
    AFFECTNET8,
    FER2013,
    TAXONOMIES,
    Taxonomy,
    reorder,
    require_same_classes,
    taxonomy,
)
from ferlab.errors import UserError

# from the data sheets, written out by hand
FER2013_IDS = {0: "angry", 1: "disgust", 2: "fear", 3: "happy", 4: "sad", 5: "surprise", 6: "neutral"}
AFFECTNET_IDS = {
    0: "neutral",
    1: "happy",
    2: "sad",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "angry",
    7: "contempt",
}


@pytest.mark.parametrize(
    ("scheme", "published"),
    [
        (FER2013, FER2013_IDS),
        (AFFECTNET7, {i: name for i, name in AFFECTNET_IDS.items() if i < 7}),
        (AFFECTNET8, AFFECTNET_IDS),
    ],
)
def test_published_ids_lead_to_the_published_names(scheme, published):
    assert {i: scheme.classes[scheme.index_of_id(i)] for i in scheme.ids} == published


def test_the_seven_classes_of_both_data_sets_are_the_same_names_in_another_order():
    assert set(FER2013.classes) == set(AFFECTNET7.classes)
    assert FER2013.classes != AFFECTNET7.classes


def test_alphabetical_order_is_not_the_id_order():
    assert list(FER2013.classes) != sorted(FER2013.classes)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("Anger", "angry"), (" HAPPINESS ", "happy"), ("Sadness", "sad"), ("fearful", "fear"), ("disgusted", "disgust")]
    + [(name, name) for name in FER2013.classes],
)
def test_synonyms_and_case_find_the_class(spelling, name):
    assert FER2013.classes[FER2013.index_of(spelling)] == name


@pytest.mark.parametrize("name", ["contempt", "", "joy", "angry happy"])
def test_a_name_that_is_no_member_is_a_key_error(name):
    with pytest.raises(KeyError):
        FER2013.index_of(name)


@pytest.mark.parametrize("source_id", [-1, 7, 255])
def test_an_id_outside_the_taxonomy_is_a_key_error(source_id):
    with pytest.raises(KeyError):
        FER2013.index_of_id(source_id)


@pytest.mark.parametrize(("classes", "ids"), [(("a", "a"), ()), (("a", "b"), (0,)), (("a",), (0, 1))])
def test_a_taxonomy_with_repeated_or_uncounted_classes_cannot_be_made(classes, ids):
    with pytest.raises(ValueError, match="distinct"):
        Taxonomy("broken", classes, ids)


def test_an_unknown_taxonomy_is_refused_with_the_known_ones():
    with pytest.raises(UserError) as caught:
        taxonomy("fer2031")
    assert all(name in str(caught.value) for name in TAXONOMIES)


def test_probabilities_move_with_their_names():
    values = np.arange(14, dtype=float).reshape(2, 7)
    moved = reorder(values, FER2013.classes, AFFECTNET7.classes)
    for position, name in enumerate(AFFECTNET7.classes):
        np.testing.assert_array_equal(moved[:, position], values[:, FER2013.classes.index(name)])
    np.testing.assert_array_equal(reorder(moved, AFFECTNET7.classes, FER2013.classes), values)


def test_seven_columns_cannot_stand_for_eight_classes():
    with pytest.raises(UserError, match="names differ"):
        reorder(np.zeros((1, 7)), AFFECTNET7.classes, AFFECTNET8.classes)


@pytest.mark.parametrize("other", [AFFECTNET7.classes, FER2013.classes[::-1], FER2013.classes[:6]])
def test_results_over_other_class_lists_cannot_be_combined_and_the_error_shows_both(other):
    with pytest.raises(UserError) as caught:
        require_same_classes(FER2013.classes, other, "run a", "run b")
    for text in ("run a", "run b", ", ".join(FER2013.classes), ", ".join(other)):
        assert text in str(caught.value)


def test_the_same_class_list_may_be_combined():
    require_same_classes(FER2013.classes, list(FER2013.classes), "a", "b")
