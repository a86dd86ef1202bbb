"""What notebooks call, and that the notebooks themselves are kept thin and without output."""

import json
from pathlib import Path

import numpy as np
import pytest

from ferlab import notebook
from ferlab.errors import UserError
from ferlab.predictions import Predictions

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
MOST_LINES = 5
"""A cell that needs more lacks a function of the package; the first one imports."""


def test_there_are_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["01_data_audit", "02_compare_runs", "03_error_analysis"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_stripped_and_thin(file: Path) -> None:
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert cells[0]["cell_type"] == "markdown"
    for cell in code[1:]:
        assert len("".join(cell["source"]).splitlines()) <= MOST_LINES


def test_a_command_gives_what_json_gives(home: Path, tmp_path: Path) -> None:
    made = notebook.command("synth", "layout=fer2013-csv", f"out={tmp_path / 'faces (1)'}", "count=70")
    assert made["count"] == 70
    assert (tmp_path / "faces (1)" / "fer2013.csv").is_file()
    found = notebook.command("doctor")
    assert {check["name"] for check in found["checks"]} >= {"Python", "tracking store"}


@pytest.mark.parametrize(
    ("words", "said"),
    [(("fly",), "no such command"), (("train", "sede=1"), "sede: not a setting"), (("train", "seed=-1"), "seed: must"),
     (("train", "seed=0,1"), "seed")],
)  # fmt: skip
def test_a_mistake_is_a_user_error(home: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        notebook.command(*words)


def test_runs_that_are_gone_on_with_or_varied_are_looked_for(home: Path) -> None:
    for reference in ("from_run=nobody", "++from_run=nobody", "resume=nobody"):
        with pytest.raises(UserError, match=r"^\w+=nobody: no such run"):
            notebook.command("train", reference)
    with pytest.raises(UserError, match="resume=nobody: goes on with the recorded settings; leave out seed=1"):
        notebook.command("train", "resume=nobody", "seed=1")


@pytest.mark.slow
def test_a_variant_of_a_recorded_run_is_trained(home: Path) -> None:
    first = notebook.command("train", "debug=fast", "backbone.width=0.25", "recipe=quick", "seed=4")
    second = notebook.command("train", f"++from_run={first['run_id'][:10]}", "augment=light")
    params = notebook.runs(f"attributes.run_id = '{second['run_id']}'").iloc[0]
    assert (params["backbone.width"], params["recipe.name"], params["seed"]) == ("0.25", "quick", "4")
    assert params["augment.name"] == "light"
    with pytest.raises(UserError, match="FINISHED: nothing to resume"):
        notebook.command("train", f"resume={second['run_id']}")


def test_answers_are_one_row_a_sample() -> None:
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])
    found = Predictions(
        ("a", "b", "c"), np.array([0, 1, 1]), probabilities, ("x", "y"), "validation", "t", "p", "d", "r"
    )
    table = notebook.answers(found)
    assert table["label"].tolist() == ["x", "y", "y"]
    assert table["predicted"].tolist() == ["x", "x", "y"]
    assert table["probability"].tolist() == [0.7, 0.6, 0.9]
    assert table["right"].tolist() == [True, False, True]
