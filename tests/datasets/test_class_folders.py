"""A class folder stands for the category it is named after, in any spelling, and numbers only for a named order."""

from pathlib import Path

import pytest

from ferlab.datasets.class_folders import class_of_folder
from ferlab.emotions import AFFECTNET8, FER2013, FERPLUS8, RAFDB, TAXONOMIES, Taxonomy
from ferlab.errors import UserError


def name_of(folder: str, taxonomy: Taxonomy = FER2013, label_order: str | None = None) -> str | None:
    position = class_of_folder(Path("root/train") / folder, taxonomy, label_order)
    return None if position is None else taxonomy.classes[position]


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=TAXONOMIES)
@pytest.mark.parametrize("folder", ["angry", "Anger", "HAPPINESS", " surprised ", "neutral", "Fearful"])
def test_a_name_is_its_class_in_every_taxonomy(taxonomy, folder):
    expected = {"a": "angry", "h": "happy", "s": "surprise", "n": "neutral", "f": "fear"}[folder.strip()[0].lower()]
    assert name_of(folder, taxonomy) == expected


def test_a_category_that_the_taxonomy_leaves_out_is_none_and_anything_else_an_error():
    assert name_of("contempt") is None
    assert name_of("Contempt", AFFECTNET8) == "contempt"
    for folder in ("joyful", "angry2", "", "8 happy", "-1", "1.0"):
        with pytest.raises(UserError, match=r"not a category\. Expected folders named angry, disgust"):
            name_of(folder)


@pytest.mark.parametrize("order", TAXONOMIES)
@pytest.mark.parametrize("taxonomy", [FER2013, FERPLUS8, RAFDB], ids=lambda taxonomy: taxonomy.name)
def test_a_number_is_read_through_the_named_order(order, taxonomy):
    for number, name in zip(TAXONOMIES[order].ids, TAXONOMIES[order].classes, strict=True):
        expected = name if name in taxonomy.classes else None
        assert name_of(str(number), taxonomy, order) == name_of(f"0{number}", taxonomy, order) == expected


def test_a_number_without_an_order_or_outside_it_is_an_error_that_says_what_to_give():
    with pytest.raises(UserError, match=r"root/train/3: .*dataset\.label_order=fer2013\|ferplus8\|"):
        name_of("3")
    with pytest.raises(UserError, match=r"8 is no class number of rafdb \(1, 2, 3, 4, 5, 6, 7\)"):
        name_of("8", FER2013, "rafdb")
