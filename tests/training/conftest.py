"""A prepared data set with annotators' votes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.preparation.prepare import Prepared, Request

VOTED_FACES, SEED = 320, 3

BORDERLINE = (
    (2, 2, 2, 1, 1, 1, 1, 0, 0, 0),  # nobody reaches 30 %
    (3, 3, 3, 0, 0, 0, 0, 0, 0, 0),  # nine votes, as one row of the real file has
    (3, 0, 0, 0, 0, 0, 0, 7, 0, 0),  # exactly 30 %
    (0, 3, 2, 0, 0, 0, 0, 0, 2, 3),  # level with not-a-face, which comes later
    (0, 0, 0, 0, 0, 0, 0, 1, 0, 0),  # a single vote
)
"""Votes of the first rows, where a rule is easily off by one."""


@pytest.fixture(scope="session")
def ferplus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``fer2013.csv`` and ``fer2013new.csv`` of 320 synthetic faces: 256, 32 and 32."""
    folder = tmp_path_factory.mktemp("votes") / "ferplus"
    write_synthetic("ferplus", folder, VOTED_FACES, SEED)
    header, *rows = (folder / "fer2013new.csv").read_text().splitlines()
    for place, votes in enumerate(BORDERLINE):
        rows[place] = f"Training,fer{place:07d}.png,{','.join(map(str, votes))}"
    (folder / "fer2013new.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="session")
def prepared_ferplus(
    ferplus_folder: Path, make_request: Callable[..., Request], run_prepare: Callable[..., Prepared]
) -> Prepared:
    """The 320 voted faces prepared under protocol official for ``multi_target``. Do not write into its folder."""
    request = make_request(ferplus_folder, "ferplus", protocol="official", targets="multi_target")
    return run_prepare(request, ferplus_folder.parent / "prepared")
