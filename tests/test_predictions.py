"""Predictions: what is saved comes back, opens with pandas, and nothing malformed gets in or out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ferlab.emotions import FER2013
from ferlab.errors import UserError
from ferlab.predictions import METADATA, Predictions


def predictions(count: int = 20, **changes: object) -> Predictions:
    rng = np.random.default_rng(1)
    fields = {
        "ids": tuple(f"train/{i}.jpg" for i in rng.permutation(count)),
        "labels": rng.integers(0, 7, count),
        "probabilities": rng.dirichlet(np.ones(7), count),
        "classes": FER2013.classes,
        "split": "validation",
        "taxonomy": "fer2013",
        "protocol": "fer2013/carved",
        "dataset_digest": "ab" * 32,
        "run_id": "run1",
    }
    return Predictions(**(fields | changes))  # type: ignore[arg-type]


def rewrite(path: Path, change) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def test_what_is_saved_comes_back(tmp_path):
    made = predictions()
    made.save(tmp_path / "deep" / "predictions.parquet")
    back = Predictions.load(tmp_path / "deep" / "predictions.parquet")
    assert back.ids == made.ids
    assert back.classes == made.classes
    assert {key: getattr(back, key) for key in METADATA} == {key: getattr(made, key) for key in METADATA}
    np.testing.assert_array_equal(back.labels, made.labels)
    np.testing.assert_allclose(back.probabilities, made.probabilities, atol=1e-7)
    np.testing.assert_array_equal(back.predicted, made.predicted)


def test_the_file_explains_itself_to_pandas(tmp_path):
    made = predictions()
    made.save(tmp_path / "p.parquet")
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert list(frame.columns) == ["id", "label", *(f"p_{name}" for name in FER2013.classes)]
    assert list(frame["label"]) == [FER2013.classes[i] for i in made.labels]
    assert pq.read_schema(tmp_path / "p.parquet").metadata[b"ferlab.protocol"] == b"fer2013/carved"


def test_sorting_by_id_moves_labels_and_probabilities_along():
    made = predictions(50)
    ordered = made.ordered_by_id()
    assert list(ordered.ids) == sorted(made.ids)
    for position, sample_id in enumerate(ordered.ids):
        old = made.ids.index(sample_id)
        assert ordered.labels[position] == made.labels[old]
        np.testing.assert_array_equal(ordered.probabilities[position], made.probabilities[old])


def twins(count: int = 20) -> np.ndarray:
    return np.random.default_rng(2).random(count) < 0.3


def test_twins_come_back_and_stand_as_a_column_of_their_own(tmp_path):
    predictions(twins=twins()).save(tmp_path / "p.parquet")
    back = Predictions.load(tmp_path / "p.parquet")
    assert back.twins.dtype == bool
    np.testing.assert_array_equal(back.twins, twins())
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert list(frame.columns) == ["id", "label", "twin", *(f"p_{name}" for name in FER2013.classes)]
    assert list(frame["twin"]) == list(twins())


def test_unknown_twins_stay_unknown(tmp_path):
    predictions().save(tmp_path / "p.parquet")
    assert Predictions.load(tmp_path / "p.parquet").twins is None
    assert predictions().ordered_by_id().twins is None
    assert predictions().twin_free().ids == predictions().ids


def test_sorting_by_id_moves_twins_along():
    made = predictions(twins=twins())
    expected = dict(zip(made.ids, twins(), strict=True))
    ordered = made.ordered_by_id()
    assert [expected[sample_id] for sample_id in ordered.ids] == ordered.twins.tolist()


def test_the_twin_free_subset_is_all_others_with_their_labels_and_probabilities():
    made = predictions(twins=twins())
    free = made.twin_free()
    kept = np.flatnonzero(~twins())
    assert 0 < len(kept) < 20
    assert free.ids == tuple(made.ids[i] for i in kept)
    np.testing.assert_array_equal(free.labels, made.labels[kept])
    np.testing.assert_array_equal(free.probabilities, made.probabilities[kept])
    assert not free.twins.any()
    assert {key: getattr(free, key) for key in METADATA} == {key: getattr(made, key) for key in METADATA}


def test_without_any_twins_the_subset_is_everything():
    assert predictions(twins=np.zeros(20, bool)).twin_free().ids == predictions().ids


def test_ties_go_to_the_first_class():
    assert predictions(1, ids=("a",), labels=np.array([2]), probabilities=np.full((1, 7), 1 / 7)).predicted[0] == 0


def with_row(value: object) -> np.ndarray:
    probabilities = np.full((20, 7), 1 / 7)
    probabilities[3] = value
    return probabilities


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probabilities": with_row(np.nan)}, "1 rows hold NaN"),
        ({"probabilities": with_row(np.inf)}, "NaN or infinite"),
        ({"probabilities": with_row(0.2)}, "do not sum to 1"),
        ({"probabilities": with_row([1.5, -0.5, 0, 0, 0, 0, 0])}, "negative"),
        ({"probabilities": np.full((20, 6), 1 / 6)}, "shapes disagree"),
        ({"labels": np.zeros(19, int)}, "shapes disagree"),
        ({"labels": np.full(20, 7)}, "0..6"),
        ({"labels": np.full(20, -1)}, "0..6"),
        ({"ids": ("same",) * 20}, "more than once"),
        ({"ids": (), "labels": np.zeros(0, int), "probabilities": np.zeros((0, 7))}, "no samples"),
    ],
)
def test_malformed_predictions_cannot_be_made_and_the_error_names_run_and_split(changes, words):
    with pytest.raises(UserError, match=words) as caught:
        predictions(**changes)
    assert "run1" in str(caught.value)
    assert "validation" in str(caught.value)


def without_metadata(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({b"ferlab.split": b"validation"})


def with_nan(table: pa.Table) -> pa.Table:
    values = table["p_fear"].to_numpy().copy()
    values[5] = np.nan
    return table.set_column(table.column_names.index("p_fear"), "p_fear", pa.array(values))


def with_null(table: pa.Table) -> pa.Table:
    values = table["p_fear"].to_pylist()
    values[5] = None
    return table.set_column(table.column_names.index("p_fear"), "p_fear", pa.array(values, pa.float32()))


def without_a_class(table: pa.Table) -> pa.Table:
    return table.drop_columns(["p_happy"])


def with_a_foreign_label(table: pa.Table) -> pa.Table:
    labels = ["contempt", *table["label"].to_pylist()[1:]]
    return table.set_column(table.column_names.index("label"), "label", pa.array(labels))


def without_ids(table: pa.Table) -> pa.Table:
    return table.drop_columns(["id"])


def without_probabilities(table: pa.Table) -> pa.Table:
    return table.select(["id", "label"])


def repeated(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table])


@pytest.mark.parametrize(
    "damage",
    [
        without_metadata,
        with_nan,
        with_null,
        without_a_class,
        with_a_foreign_label,
        without_ids,
        without_probabilities,
        repeated,
    ],
)
def test_a_damaged_file_is_a_user_error(tmp_path, damage):
    predictions(30).save(tmp_path / "p.parquet")
    rewrite(tmp_path / "p.parquet", damage)
    with pytest.raises(UserError):
        Predictions.load(tmp_path / "p.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"id,label\n1,2\n"])
def test_a_file_that_is_no_parquet_is_a_user_error_that_names_it(tmp_path, content):
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"p\.parquet"):
        Predictions.load(tmp_path / "p.parquet")


def test_a_cut_or_missing_file_is_a_user_error(tmp_path):
    predictions().save(tmp_path / "p.parquet")
    data = (tmp_path / "p.parquet").read_bytes()
    (tmp_path / "p.parquet").write_bytes(data[: len(data) // 2])
    for name in ("p.parquet", "absent.parquet"):
        with pytest.raises(UserError, match="not a predictions file"):
            Predictions.load(tmp_path / name)
