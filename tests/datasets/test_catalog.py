"""Every dataset that a config can name has a family, a reader, protocols and taxonomies that fit together."""

from importlib import import_module

import pytest

from ferlab.datasets.catalog import DATASETS, FAMILIES, LAYOUTS, SYNTHETIC, family_of, taxonomies_of
from ferlab.datasets.synthetic.layouts import LAYOUTS as DRAWN
from ferlab.emotions import TAXONOMIES


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_has_a_reader_protocols_and_taxonomies(name):
    family = family_of(name, None)
    reader = import_module(family.reader)
    assert callable(reader.locate)
    assert callable(reader.read)
    assert family.protocols
    assert taxonomies_of(name, None)
    assert set(taxonomies_of(name, None)) <= set(TAXONOMIES)


def test_the_first_taxonomy_of_a_dataset_is_its_own():
    assert {name: taxonomies_of(name, None)[0] for name in DATASETS} == {
        "fer2013": "fer2013",
        "ferplus": "ferplus8",
        "affectnet7": "affectnet7",
        "affectnet8": "affectnet8",
    }


def test_every_layout_that_can_be_drawn_is_read_by_one_family():
    assert set(LAYOUTS) == set(DRAWN)
    for layout, name in LAYOUTS.items():
        assert family_of(SYNTHETIC, layout) is FAMILIES[name]
        assert set(taxonomies_of(SYNTHETIC, layout)) <= set(TAXONOMIES)


def test_protocols_never_train_and_report_on_the_same_part():
    for family in FAMILIES.values():
        for protocol in family.protocols.values():
            parts = [part for part in (protocol.train, protocol.select, protocol.report) if part]
            assert len(set(parts)) == len(parts)


@pytest.mark.parametrize(("name", "layout"), [("rafdb", None), (SYNTHETIC, "fer2014")])
def test_an_unknown_name_is_a_key_error(name, layout):
    with pytest.raises(KeyError):
        family_of(name, layout)
