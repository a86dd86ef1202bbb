"""Class orders: the published ids of every data set, and no way to mix two orders up."""

import pytest

from ferlab.emotions import (
    AFFECTNET7,
    AFFECTNET8,
    FER2013,
    Taxonomy,
    require_same_classes,
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


@pytest.mark.parametrize("other", [AFFECTNET7.classes, FER2013.classes[::-1], FER2013.classes[:6]])
def test_results_over_other_class_lists_cannot_be_combined_and_the_error_shows_both(other):
    with pytest.raises(UserError) as caught:
        require_same_classes(FER2013.classes, other, "run a", "run b")
    for text in ("run a", "run b", ", ".join(FER2013.classes), ", ".join(other)):
        assert text in str(caught.value)


def test_the_same_class_list_may_be_combined():
    require_same_classes(FER2013.classes, list(FER2013.classes), "a", "b")
