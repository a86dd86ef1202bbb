"""Class orders: the published ids of every data set, mapped by name, and no way to mix two orders up."""

from itertools import permutations

import pytest

from ferlab.emotions import (
    AFFECTNET7,
    AFFECTNET8,
    ALPHABETICAL7,
    FER2013,
    FERPLUS8,
    RAFDB,
    SYNONYMS,
    TAXONOMIES,
    Taxonomy,
    positions_in,
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
RAFDB_IDS = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}
FERPLUS_COLUMNS = {
    0: "neutral", 1: "happy", 2: "surprise", 3: "sad", 4: "angry", 5: "disgust", 6: "fear", 7: "contempt"
}  # fmt: skip
ALPHABETICAL_FOLDERS = {0: "angry", 1: "disgust", 2: "fear", 3: "happy", 4: "neutral", 5: "sad", 6: "surprise"}

# where each class stands, in the order of the columns below
ORDERS = ("fer2013", "ferplus8", "affectnet7", "affectnet8", "rafdb", "alphabetical7")
PLACES = {
    "angry":    (0, 4, 6, 6, 5, 0),
    "disgust":  (1, 5, 5, 5, 2, 1),
    "fear":     (2, 6, 4, 4, 1, 2),
    "happy":    (3, 1, 1, 1, 3, 3),
    "sad":      (4, 3, 2, 2, 4, 5),
    "surprise": (5, 2, 3, 3, 0, 6),
    "neutral":  (6, 0, 0, 0, 6, 4),
    "contempt": (None, 7, None, 7, None, None),
}  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "published"),
    [
        (FER2013, FER2013_IDS),
        (AFFECTNET7, {i: name for i, name in AFFECTNET_IDS.items() if i < 7}),
        (AFFECTNET8, AFFECTNET_IDS),
        (RAFDB, RAFDB_IDS),
        (FERPLUS8, FERPLUS_COLUMNS),
        (ALPHABETICAL7, ALPHABETICAL_FOLDERS),
    ],
)
def test_published_ids_lead_to_the_published_names(scheme, published):
    assert {i: scheme.classes[scheme.index_of_id(i)] for i in scheme.ids} == published


def test_every_taxonomy_is_found_by_its_name():
    assert tuple(TAXONOMIES) == ORDERS
    assert all(taxonomy.name == name for name, taxonomy in TAXONOMIES.items())


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
def test_ids_and_names_lead_to_a_position_and_back(taxonomy):
    for position, (name, number) in enumerate(zip(taxonomy.classes, taxonomy.ids, strict=True)):
        assert taxonomy.index_of(name) == taxonomy.index_of_id(number) == position
    assert len(taxonomy) == len(set(taxonomy.ids)) == len(taxonomy.classes)


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
@pytest.mark.parametrize("name", [*PLACES, *SYNONYMS])
def test_every_name_is_known_to_every_taxonomy_that_has_the_class(taxonomy, name):
    place = PLACES[SYNONYMS.get(name, name)][ORDERS.index(taxonomy.name)]
    if place is None:
        with pytest.raises(KeyError):
            taxonomy.index_of(name)
    else:
        assert taxonomy.index_of(name) == taxonomy.index_of(name.upper()) == place


@pytest.mark.parametrize(("source", "target"), permutations(TAXONOMIES, 2))
def test_every_order_leads_to_every_other_by_name(source, target):
    found = positions_in(TAXONOMIES[source], TAXONOMIES[target])
    own, other = ORDERS.index(source), ORDERS.index(target)
    placed = sorted((places[own], places[other]) for places in PLACES.values() if places[own] is not None)
    assert list(enumerate(found)) == placed


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (FER2013, RAFDB, (5, 2, 1, 3, 4, 0, 6)),
        (RAFDB, FER2013, (5, 2, 1, 3, 4, 0, 6)),
        (FERPLUS8, FER2013, (6, 3, 5, 4, 0, 1, 2, None)),
        (FER2013, FERPLUS8, (4, 5, 6, 1, 3, 2, 0)),
        (AFFECTNET7, FER2013, (6, 3, 4, 5, 2, 1, 0)),
        (FER2013, AFFECTNET7, (6, 5, 4, 1, 2, 3, 0)),
        (AFFECTNET8, FER2013, (6, 3, 4, 5, 2, 1, 0, None)),
        (AFFECTNET8, AFFECTNET7, (0, 1, 2, 3, 4, 5, 6, None)),
        (AFFECTNET7, AFFECTNET8, (0, 1, 2, 3, 4, 5, 6)),
        (AFFECTNET8, FERPLUS8, (0, 1, 3, 2, 6, 5, 4, 7)),
        (FERPLUS8, AFFECTNET8, (0, 1, 3, 2, 6, 5, 4, 7)),
        (FERPLUS8, RAFDB, (6, 3, 0, 4, 5, 2, 1, None)),
        (AFFECTNET7, RAFDB, (6, 3, 4, 0, 1, 2, 5)),
        (FER2013, ALPHABETICAL7, (0, 1, 2, 3, 5, 6, 4)),
        (ALPHABETICAL7, FER2013, (0, 1, 2, 3, 6, 4, 5)),
        (FER2013, FER2013, (0, 1, 2, 3, 4, 5, 6)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_mappings_that_were_worked_out_by_hand(source, target, expected):
    assert positions_in(source, target) == expected


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
