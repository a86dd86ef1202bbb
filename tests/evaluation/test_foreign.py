"""Files of other tools: what is read, in which order, and what is refused in one line."""

import numpy as np
import pandas as pd
import pytest

from ferlab.errors import UserError
from ferlab.evaluation.foreign import in_order, read_foreign

from .conftest import CLASSES

IDS = [str(28709 + place) for place in range(20)]


def answers(names=CLASSES) -> pd.DataFrame:
    values = np.random.default_rng(0).dirichlet(np.ones(len(names)), len(IDS))
    return pd.DataFrame(values, columns=list(names)).assign(id=IDS)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("names", [CLASSES, tuple(f"p_{name}" for name in CLASSES)], ids=["plain", "prefixed"])
def test_probabilities_come_in_the_order_of_the_classes(tmp_path, ending: str, names) -> None:
    file = tmp_path / f"answers.{ending}"
    table = answers(names)
    shuffled = table[["id", *reversed(names)]].sample(frac=1, random_state=1)
    shuffled.to_csv(file, index=False) if ending == "csv" else shuffled.to_parquet(file)
    found = read_foreign(file, CLASSES)
    assert not found.hard
    np.testing.assert_allclose(in_order(found, IDS, str(file)), table[list(names)].to_numpy(), atol=1e-12)


def test_synonyms_and_capitals_name_the_same_classes(tmp_path) -> None:
    table = answers().rename(columns={"happy": "Happiness", "angry": "ANGER", "id": "ID"})
    table.to_csv(tmp_path / "a.csv", index=False)
    found = read_foreign(tmp_path / "a.csv", CLASSES)
    np.testing.assert_allclose(found.probabilities, answers()[list(CLASSES)].to_numpy())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"], ids=["plain", "with a byte-order mark"])
def test_ids_keep_their_leading_zeros(tmp_path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("Id,prediction\n007,happy\n7,sad\nNA,fear\n", encoding=encoding)
    assert read_foreign(tmp_path / "a.csv", CLASSES).ids == ("007", "7", "NA")


def test_a_column_that_stands_there_twice_is_refused(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("id,happy,happy\n1,.5,.5\n")
    with pytest.raises(UserError, match="column happy stands there more than once"):
        read_foreign(tmp_path / "a.csv", CLASSES)


def test_labels_become_certain_answers_that_say_so(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("id,prediction,score\n1,Happiness,.9\n2,sad,.2\n")
    found = read_foreign(tmp_path / "a.csv", CLASSES)
    assert found.hard
    assert found.probabilities.argmax(axis=1).tolist() == [3, 4]
    assert found.probabilities.max() == 1


def changed(**columns) -> pd.DataFrame:
    return answers().assign(**columns)


REFUSED = {
    "no id": (answers().drop(columns="id"), "no column id"),
    "a class is missing": (answers().drop(columns="fear"), "no column for fear"),
    "a class too many": (changed(contempt=0.0), "contempt is no class"),
    "a class twice": (changed(happiness=0.0), "the same class"),
    "not a number": (answers().astype({"sad": object}).assign(sad="x"), "something else than numbers"),
    "NaN": (answers().assign(sad=[np.nan, *answers().sad[1:]]), "1 rows hold NaN"),
    "sums to 2": (answers().set_index("id").mul(2).reset_index(), "do not sum to 1 .the first: row 1, sum 2"),
    "negative": (changed(sad=answers().sad - 1, fear=answers().fear + 1), "negative"),
    "twice": (pd.concat([answers(), answers()[:3]]), "more than once .3 rows too many"),
    "id missing": (answers().assign(id=[None, *IDS[1:]]), "1 rows have no id"),
    "no rows": (answers()[:0], "there are no rows"),
    "neither": (answers()[["id"]].assign(other=1), "neither a column for each"),
    "unknown label": (answers()[["id"]].assign(label="grumpy"), "grumpy: no class"),
}


@pytest.mark.parametrize(("table", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_scored_is_refused_in_one_line(tmp_path, table: pd.DataFrame, complaint: str) -> None:
    file = tmp_path / "answers.csv"
    table.to_csv(file, index=False)
    with pytest.raises(UserError, match=complaint) as refusal:
        read_foreign(file, CLASSES)
    assert "\n" not in str(refusal.value)
    assert str(file) in str(refusal.value)


@pytest.mark.parametrize(
    "content", [None, b"", b"\x00\x01PAR1", b"PAR1 but not one"], ids=["absent", "empty", "binary", "text"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_no_table_at_all_is_refused_in_one_line(tmp_path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_foreign(tmp_path / name, CLASSES)
    assert "\n" not in str(refusal.value)


def test_missing_and_unknown_samples_are_counted(tmp_path) -> None:
    answers().to_csv(tmp_path / "a.csv", index=False)
    found = read_foreign(tmp_path / "a.csv", CLASSES)
    with pytest.raises(UserError, match=r"1 of 20 samples .*the first: x.*1 ids are not of this split .such as 28728"):
        in_order(found, [*IDS[:-1], "x"], "a.csv")
