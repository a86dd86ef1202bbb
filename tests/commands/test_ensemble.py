"""``ensemble``: what it records, whom it takes, what it refuses, and that the test split has no part in it."""

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from ferlab.commands.contestants import costs_of
from ferlab.commands.ensemble import Ensembled, _growth, _log_members, _try, run, show
from ferlab.commands.ensemble_members import Members, chosen_members
from ferlab.commands.evaluate import OPENINGS
from ferlab.commands.launch import Context
from ferlab.commands.mistakes import explanation_of_run
from ferlab.config.nodes import Combination as Settings
from ferlab.config.nodes import Compute
from ferlab.config.schema import EnsembleConfig
from ferlab.ensembling.alignment import aligned, stacked
from ferlab.ensembling.combination import METHODS, Combination
from ferlab.ensembling.crossfit import attempt, out_of_fold
from ferlab.ensembling.diversity import diversity
from ferlab.ensembling.fitting import Plan
from ferlab.ensembling.selection import by_accuracy
from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.predictions import Predictions
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import read_samples
from ferlab.scoring.gradcam import class_activation
from ferlab.scoring.predict import predict_split
from ferlab.sealed import Opening
from ferlab.tracking.records import RunRecord, find_run, search

COMPUTE = Compute("local")
STUDY = "trained"


@dataclass
class Place:
    """A home with prepared data and, in the study ``trained``, three recorded models with their predictions."""

    context: Context
    prepared: Prepared
    printed: io.StringIO
    trained: list[str]

    def ensemble(self, *runs: str, study: str | None = None, method: str = "auto", **choice: Any) -> dict[str, Any]:
        config = EnsembleConfig(study, list(runs), Settings(method), COMPUTE, **choice)
        return run(config, self.context)

    def recorded(self, study: str, name: str, predictions: Predictions | None, stage: str = "train") -> str:
        """A run with predictions and no model: for what is refused before one is needed."""
        with self.context.store.run(stage, study, name) as tracked:
            if predictions is not None:
                own = replace(predictions, run_id=tracked.id)
                tracked.log_saved(own.save, "validation.parquet", "predictions")
        return tracked.id

    def predictions(self, run_id: str) -> Predictions:
        return Predictions.load(find_run(run_id).artifact("predictions/validation.parquet"))


@pytest.fixture(scope="module")
def place(
    tf: Any, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory, store_template: Path
) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("ensembles")
    shutil.copy(store_template / "mlflow.db", home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("FERLAB_HOME", str(home))
        folder = home / "prepared" / prepared.folder.name
        shutil.copytree(prepared.folder, folder)
        printed = io.StringIO()
        context = Context("ensemble", home, {})
        context.terminal.console = Console(file=printed, width=200)
        own = Prepared(str(folder), prepared.manifest, reused=True)
        yield Place(context, own, printed, [trained(context, own, seed) for seed in range(3)])
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)


def trained(context: Context, prepared: Prepared, seed: int) -> str:
    """A recorded run of a network whose last layer was drawn large, so that it answers different faces differently."""
    import keras

    keras.utils.set_random_seed(seed)
    manifest = prepared.manifest
    model = build_model(ModelSpec("seq1", manifest.classes, 48, 1, 32, "none", False, 0.0, 0.25)).model
    logits = model.get_layer("logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([100 * kernel, bias])
    with context.store.run("train", STUDY, f"seq1-s{seed}") as tracked:
        tracked.log_dataset(manifest, prepared.folder, "train")
        tracked.log_metrics({"train_minutes": 10.0 + seed})
        predictions = predict_split(model, prepared.folder, manifest, "validation", tracked.id)
        tracked.log_saved(predictions.save, "validation.parquet", "predictions")
        tracked.log_model(model, np.zeros((2, 48, 48, 1), np.uint8), {"classes": list(manifest.classes)})
    return tracked.id


@pytest.fixture(scope="module")
def done(place: Place) -> dict[str, Any]:
    """The study by ``auto``, more runs asked for than there are."""
    return place.ensemble(study=STUDY, top=9, diverse=True)


@pytest.fixture(scope="module")
def fitted(place: Place) -> dict[str, Any]:
    """The three by id and by a method with much to fit."""
    return place.ensemble(*place.trained, method="stacking")


@pytest.fixture(params=["done", "fitted"])
def either(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.getfixturevalue(request.param)


def record_of(result: dict[str, Any]) -> RunRecord:
    return find_run(result["run_id"])


def combination_of(result: dict[str, Any]) -> Combination:
    return Combination.from_json(json.loads(record_of(result).artifact("combination.json").read_text()))


def test_scores_and_predictions_of_the_run_are_out_of_fold(place: Place, either: dict[str, Any]) -> None:
    combination = combination_of(either)
    members = aligned([place.predictions(run_id) for run_id in combination.members])
    labels = members[0].labels
    expected = out_of_fold(Plan(either["method"]), stacked(members), labels, 5)
    stored = place.predictions(either["run_id"])
    np.testing.assert_allclose(stored.probabilities, expected, atol=1e-6)
    assert (stored.ids, stored.run_id, stored.split) == (members[0].ids, either["run_id"], "validation")
    assert stored.twins is not None
    metrics = record_of(either).metrics
    assert metrics["val_accuracy"] == (expected.argmax(axis=1) == labels).mean()
    assert either["metrics"]["accuracy"]["value"] == metrics["val_accuracy"]
    inside = combination.apply(stacked(members))
    assert metrics["fit_accuracy"] == (inside.argmax(axis=1) == labels).mean()


def test_auto_took_the_most_accurate_method(done: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in done["methods"]}
    assert set(rows) == set(METHODS)
    assert min(rows.values(), key=lambda row: (-row["accuracy"]["value"], row["nll"]))["method"] == done["method"]
    assert done["metrics"]["accuracy"] == rows[done["method"]]["accuracy"]
    assert json.loads(record_of(done).artifact("methods.json").read_text()) == done["methods"]


def test_the_stored_model_is_the_combination_of_the_stored_models(place: Place, either: dict[str, Any]) -> None:
    samples = read_samples(place.prepared.folder, place.prepared.manifest, "validation")
    images = np.stack([sample.pixels for sample in samples])
    combination = combination_of(either)

    def answer(run_id: str) -> np.ndarray:
        return np.asarray(find_run(run_id).load_model()(images, training=False), float)

    alone = np.stack([answer(run_id) for run_id in combination.members])
    assert alone.std(axis=1).max() > 0.1, "members that answer all faces alike would show nothing"
    np.testing.assert_allclose(answer(either["run_id"]), combination.apply(alone), atol=1e-5)


def test_maps_are_the_members_where_answers_are_their_mean(place: Place, fitted: dict[str, Any]) -> None:
    result = place.ensemble(*place.trained[:2], method="mean")
    images = np.stack(
        [one.pixels for one in read_samples(place.prepared.folder, place.prepared.manifest, "validation")]
    )
    chosen, classes = images[:4], np.array([0, 2, 3, 6])
    explain = explanation_of_run(record_of(result), record_of(result).load_model())
    maps = [class_activation(find_run(run_id).load_model(), chosen, classes) for run_id in place.trained[:2]]
    mixed = np.mean(maps, axis=0)
    np.testing.assert_allclose(explain(chosen, classes), mixed / mixed.max(axis=(1, 2), keepdims=True), atol=1e-4)
    assert explanation_of_run(record_of(fitted), record_of(fitted).load_model()) is None, "stacking mixes no maps"


def test_the_run_says_what_it_is_made_of(place: Place, done: dict[str, Any]) -> None:
    record = record_of(done)
    assert record.stage == "ensemble"
    assert record.study == STUDY
    assert set(record.tags["ferlab.from.train"].split(",")) == set(place.trained)
    assert record.tags["dataset.digest"] == place.prepared.manifest.digest
    assert done["weights"] == pytest.approx(combination_of(done).member_weights())
    assert set(done["weights"]) == set(place.trained)
    lines = record.artifact("diversity.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
    figures = {file.name for file in record.artifact("figures").iterdir()}
    assert {"diversity.png", "growth.png", "members.png", "confusion_validation.png"} <= figures
    assert "Diversity of pairs" in place.printed.getvalue()


def test_it_costs_the_minutes_of_its_members_trainings(place: Place, done: dict[str, Any]) -> None:
    assert costs_of(record_of(done)).minutes == 10 + 11 + 12
    silent = place.recorded("silent", "silent", place.predictions(place.trained[0]))
    assert costs_of(find_run(silent)).minutes is None, "what was not measured is not guessed"


def test_the_curve_is_the_equal_mean_of_more_and_more(place: Place, done: dict[str, Any]) -> None:
    found = {run_id: place.predictions(run_id).ordered_by_id() for run_id in place.trained}
    labels = found[place.trained[0]].labels
    added: list[str] = []
    for row in done["growth"]:
        added.append(row["added"])
        mean = np.mean([found[run_id].probabilities for run_id in added], axis=0)
        assert row["accuracy"]["value"] == pytest.approx((mean.argmax(axis=1) == labels).mean())
    assert set(added) == set(place.trained)


def test_the_curve_says_that_its_order_saw_the_same_images(done: dict[str, Any]) -> None:
    assert done["growth_note"] == "ordered on the same images"


@pytest.mark.slow
def test_many_members_are_shown_in_part_and_written_whole(place: Place) -> None:
    count = 60
    records = tuple(find_run(place.recorded("many", f"run{i}", drawn(place, i))) for i in range(count))
    found = tuple(place.predictions(record.id) for record in records)
    members = Members(records, found, tuple(by_accuracy(found)))
    tried = _try(attempt(Plan("mean"), found, 5), found[0])
    spread, growth = diversity(found), _growth(members)
    with place.context.store.run("ensemble", "many", "ensemble") as tracked:
        _log_members(tracked, members, tried.scores, spread, growth)
    record = find_run(tracked.id)
    assert len(record.artifact("diversity.csv").read_text().splitlines()) == 1 + count * (count - 1) // 2
    for name in ("diversity", "growth", "members"):
        height, width = cv2.imread(str(record.artifact(f"figures/{name}.png"))).shape[:2]
        assert max(height, width) < 7000, name
    weights = dict.fromkeys((one.id for one in records), 1 / count)
    before = len(place.printed.getvalue())
    show(Ensembled(tracked.id, "many", members, weights, tried, [tried], spread, growth), place.context.terminal)
    printed = place.printed.getvalue()[before:].split("Diversity of pairs")[1]
    title = "the 10 that disagree most and least of 1,770, all in diversity.csv"
    assert title in " ".join(printed.split())
    shown = [float(value) for value in re.findall(r"([\d.]+) %", printed.split("many: accuracy")[0])]
    everything = sorted(round(100 * spread.disagreement[pair], 1) for pair in spread.pairs)
    assert sorted(shown) == everything[:10] + everything[-10:]


def test_no_weight_changes_when_the_test_split_is_destroyed(place: Place, fitted: dict[str, Any]) -> None:
    """Its labels are as good as shuffled: not a byte of its shards is left."""
    shards = [place.prepared.folder / shard.name for shard in
              place.prepared.manifest.split_shards("test", Opening("", 0))]  # fmt: skip
    whole = {file: file.read_bytes() for file in shards}
    for file, data in whole.items():
        file.write_bytes(bytes(len(data)))
    try:
        with pytest.raises(UserError, match="damaged"):
            list(read_samples(place.prepared.folder, place.prepared.manifest, "test", Opening("", 0)))
        blind = place.ensemble(*place.trained, method="stacking")
    finally:
        for file, data in whole.items():
            file.write_bytes(data)
    assert combination_of(blind).as_json() == combination_of(fitted).as_json()
    assert blind["methods"] == fitted["methods"]
    assert OPENINGS not in record_of(blind).tags


def test_a_study_gives_the_best_of_its_finished_trainings(place: Place) -> None:
    found = [place.predictions(run_id) for run_id in place.trained]
    accuracies = [(one.predicted == one.labels).mean() for one in found]
    best = sorted(range(3), key=lambda i: (-accuracies[i], i))[:2]
    chosen = chosen_members(EnsembleConfig(STUDY, [], Settings(), COMPUTE, top=2), place.context)
    assert [record.id for record in chosen.records] == [place.trained[i] for i in best]
    assert [one.run_id for one in chosen.predictions] == [place.trained[i] for i in best]


def test_diverse_leaves_out_the_copy_of_the_best(place: Place) -> None:
    """The two most accurate answer alike; the third is worse alone, but right and sure where they are wrong."""
    base = place.predictions(place.trained[0])
    labels, rng = base.labels, np.random.default_rng(0)
    share = np.arange(len(labels)) / len(labels)

    def right_in(chosen: np.ndarray, sure_and_right: float) -> Predictions:
        answer = np.where(chosen, labels, (labels + 1 + rng.integers(0, 6, len(labels))) % 7)
        sureness = np.where(chosen, sure_and_right, 0.3)[:, None]
        return replace(base, probabilities=(1 - sureness) / 7 + sureness * np.eye(7)[answer])

    best = right_in(share < 0.7, 0.5)
    for name, predictions in (("best", best), ("copy", best), ("other", right_in(share >= 0.4, 0.9))):
        place.recorded("alike", name, predictions)

    def taken(diverse: bool) -> list[str]:
        config = EnsembleConfig("alike", [], Settings(), COMPUTE, top=2, diverse=diverse)
        return [record.name for record in chosen_members(config, place.context).records]

    assert taken(diverse=False) == ["best", "copy"]
    assert taken(diverse=True) == ["best", "other"]


def test_more_than_there_are_takes_all_and_says_so(place: Place, done: dict[str, Any]) -> None:
    assert set(done["weights"]) == set(place.trained)
    assert [row["added"] for row in done["growth"]] == list(done["weights"]), "in the order they were chosen"
    assert "top=9: there are only 3 runs; all are taken." in place.printed.getvalue()


def drawn(place: Place, seed: int, classes: int = 7) -> Predictions:
    first = place.predictions(place.trained[0])
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(classes), len(first))
    return replace(first, probabilities=probabilities)


def without_predictions(place: Place) -> str:
    return place.recorded("refused", "bare", None)


def deleted(place: Place) -> str:
    run_id = place.recorded("refused", "deleted", drawn(place, 1))
    find_run(run_id).artifact("predictions/validation.parquet").unlink()
    return run_id


def rewrite(run_id: str, change: Callable[[pa.Table], pa.Table]) -> None:
    file = find_run(run_id).artifact("predictions/validation.parquet")
    table = pq.read_table(file)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), file)


def rewritten(place: Place, change: Callable[[pa.Table], pa.Table]) -> str:
    run_id = place.recorded("refused", "rewritten", drawn(place, 1))
    rewrite(run_id, change)
    return run_id


def with_nan_values(table: pa.Table) -> pa.Table:
    values = table["p_happy"].to_numpy().copy()
    values[:3] = np.nan
    return table.set_column(table.column_names.index("p_happy"), "p_happy", pa.array(values))


def with_nan(place: Place) -> str:
    return rewritten(place, with_nan_values)


def with_one_sample_twice(place: Place) -> str:
    return rewritten(place, lambda table: pa.concat_tables([table, table.slice(0, 1)]))


def with_fewer_samples(place: Place) -> str:
    return rewritten(place, lambda table: table.slice(1))


def of_another_protocol(place: Place) -> str:
    return place.recorded("refused", "official", replace(drawn(place, 2), protocol="fer2013/official"))


def an_evaluation(place: Place) -> str:
    return place.recorded("refused", "evaluate-x", drawn(place, 2), "evaluate")


WRONG = {
    without_predictions: "its artifact predictions/validation.parquet is not there",
    deleted: "its artifact predictions/validation.parquet is not there",
    with_nan: "3 rows hold NaN",
    with_one_sample_twice: "sample ids occur more than once",
    with_fewer_samples: "were scored on different samples",
    of_another_protocol: "has protocol",
    an_evaluation: "is evaluate: only trained runs can be combined",
}


@pytest.mark.parametrize(("make", "text"), WRONG.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_member_that_cannot_be_used_is_one_clear_line(place: Place, make: Callable[[Place], str], text: str) -> None:
    other = make(place)
    with pytest.raises(UserError, match=text) as refusal:
        place.ensemble(place.trained[0], other)
    assert other in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_study_leaves_out_predictions_that_cannot_be_read(place: Place) -> None:
    whole = [place.recorded("spoiled", name, drawn(place, seed)) for seed, name in enumerate("ab")]
    spoiled = place.recorded("spoiled", "c", drawn(place, 2))
    rewrite(spoiled, with_nan_values)
    chosen = chosen_members(EnsembleConfig("spoiled", [], Settings(), COMPUTE), place.context)
    assert [record.id for record in chosen.records] == whole
    (line,) = [line for line in place.printed.getvalue().splitlines() if "left out" in line and spoiled in line]
    assert "3 rows hold NaN" in line


def test_prepared_data_that_are_gone_are_said_before_anything_is_fitted(place: Place) -> None:
    folder = place.prepared.folder
    away = place.context.home / "away"
    before = len(search(study=STUDY))
    folder.rename(away)
    try:
        with pytest.raises(UserError, match="prepared"):
            place.ensemble(*place.trained, method="stacking")
    finally:
        away.rename(folder)
    assert len(search(study=STUDY)) == before, "no run was begun"


def test_one_run_twice_and_one_alone_are_refused(place: Place) -> None:
    with pytest.raises(UserError, match="the same run is named twice"):
        place.ensemble(place.trained[0], place.trained[0])
    with pytest.raises(UserError, match="at least 2 runs, got 1"):
        place.ensemble(place.trained[0])


def test_a_study_leaves_out_who_has_no_predictions_and_needs_two(place: Place) -> None:
    bare = place.recorded("thin", "bare", None)
    place.recorded("thin", "whole", drawn(place, 3))
    place.recorded("thin", "together", drawn(place, 4), "ensemble")
    with pytest.raises(UserError, match=r"study=thin: .* at least 2 finished trainings with predictions, got 1"):
        place.ensemble(study="thin")
    assert f"left out: run {bare}" in place.printed.getvalue()
    with pytest.raises(UserError, match="study=nowhere: no such study"):
        place.ensemble(study="nowhere")
