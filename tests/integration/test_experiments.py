"""Every experiment file runs from raw images to the report in one process, a few steps of each stage."""

import json
import re
import shlex
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ferlab.config.files import config_root
from ferlab.ensembling.combination import Combination
from ferlab.evaluation.metrics import score
from ferlab.manifest import Manifest
from ferlab.predictions import Predictions
from ferlab.sealed import Opening

from .conftest import Done, Workplace

EXPERIMENTS = sorted((config_root() / "experiments").glob("*.yaml"))
SWEPT = [file for file in EXPERIMENTS if "Command: ferlab train -m" in file.read_text(encoding="utf-8")]
DEFAULT = "quickstart"
CURVES = ("loss", "val_loss", "accuracy", "val_accuracy", "phase", "learning_rate", "images_per_s")


def command_of(file: Path) -> list[str]:
    """The command of the card at the head of the file, its folders of data and weights left out."""
    (line,) = re.findall(r"^# Command: ferlab (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [word for word in shlex.split(line) if not word.endswith(("=DIR", "=FOLDER"))]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(file, id=file.stem, marks=[] if file.stem == DEFAULT else pytest.mark.slow)
        for file in EXPERIMENTS
        if command_of(file)[0] == "pipeline"
    ],
)
def done(request: pytest.FixtureRequest, tmp_path_factory: Any, store_template: Path) -> tuple[Workplace, Done]:
    home = tmp_path_factory.mktemp(request.param.stem)
    shutil.copy(store_template / "mlflow.db", home / "mlflow.db")
    place = Workplace(home)
    ended = place.ferlab(*command_of(request.param), "debug=fast")
    assert ended.code == 0, ended.err
    return place, ended


def by_stage(place: Workplace) -> dict[str, list[Any]]:
    stages = defaultdict(list)
    for run in place.runs():
        stages[run.data.tags["ferlab.stage"]].append(run)
    return stages


def test_the_card_names_its_own_experiment() -> None:
    assert EXPERIMENTS
    for file in EXPERIMENTS:
        assert f"experiments={file.stem}" in command_of(file)


def test_every_stage_is_a_finished_run_of_the_pipeline(done: tuple[Workplace, Done]) -> None:
    place, ended = done
    stages = by_stage(place)
    members = len(ended.result["members"])
    counts = {stage: len(runs) for stage, runs in stages.items()}
    assert counts == {"pipeline": 1, "prepare": 1, "train": members, "ensemble": 1, "evaluate": members + 1}
    parent = ended.result["run_id"]
    for run in place.runs():
        assert run.info.status == "FINISHED"
        assert run.data.tags.get("mlflow.parentRunId") == (None if run.info.run_id == parent else parent)


def test_runs_are_linked_to_what_they_were_made_from(done: tuple[Workplace, Done]) -> None:
    place, _ = done
    stages = by_stage(place)
    (prepare,), (ensemble,) = stages["prepare"], stages["ensemble"]
    trained = [run.info.run_id for run in stages["train"]]
    assert {run.data.tags["ferlab.from.prepare"] for run in stages["train"]} == {prepare.info.run_id}
    assert set(ensemble.data.tags["ferlab.from.train"].split(",")) == set(trained)
    evaluated = {run.data.tags["ferlab.from.model"] for run in stages["evaluate"]}
    assert evaluated == {*trained, ensemble.info.run_id}
    assert (
        len({run.data.tags["dataset.digest"] for stage in stages for run in stages[stage] if stage != "pipeline"}) == 1
    )


def test_training_runs_carry_all_that_is_promised(done: tuple[Workplace, Done]) -> None:
    place, _ = done
    for run in by_stage(place)["train"]:
        folder = place.artifacts(run.info.run_id)
        expected = ("config.yaml", "history.json", "model_summary.txt", "code/packages.txt", "figures/curves.png",
                    "figures/confusion_validation.png", "predictions/validation.parquet")  # fmt: skip
        for name in expected:
            assert (folder / name).stat().st_size > 0, name
        assert run.data.params["debug.name"] == "fast"
        assert {f"epoch/{name}" for name in CURVES} | {"val_accuracy", "images_per_s"} <= set(run.data.metrics)
        (given,) = run.inputs.dataset_inputs
        assert run.data.tags["dataset.digest"].startswith(given.dataset.digest)
        predictions = Predictions.load(folder / "predictions/validation.parquet")
        assert predictions.run_id == run.info.run_id
        assert run.data.metrics["val_accuracy"] == pytest.approx(score(predictions, 100, 0).estimates["accuracy"].value)
    assert not list((place.home / "checkpoints").glob("*/*"))


def test_metrics_of_the_result_are_those_of_the_stored_predictions(done: tuple[Workplace, Done]) -> None:
    place, ended = done
    for run in by_stage(place)["evaluate"]:
        predictions = Predictions.load(place.artifacts(run.info.run_id) / "predictions/test.parquet")
        accuracy = float((predictions.predicted == predictions.labels).mean())
        assert run.data.metrics["test_accuracy"] == pytest.approx(accuracy)
        if predictions.run_id == ended.result["ensemble_run_id"]:
            assert ended.result["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_the_ensemble_model_is_the_combination_of_its_members_predictions(done: tuple[Workplace, Done]) -> None:
    """Two ways that never meet: the stored model on the test shards, and the members' stored test predictions."""
    place, ended = done
    stored = {}
    for run in by_stage(place)["evaluate"]:
        found = Predictions.load(place.artifacts(run.info.run_id) / "predictions/test.parquet").ordered_by_id()
        stored[found.run_id] = found
    ensemble = ended.result["ensemble_run_id"]
    combination = Combination.from_json(json.loads((place.artifacts(ensemble) / "combination.json").read_text()))
    together = combination.apply(np.stack([stored[member].probabilities for member in combination.members]))
    np.testing.assert_allclose(stored[ensemble].probabilities, together, atol=2e-5)


def test_the_report_names_the_ensemble_and_its_members(done: tuple[Workplace, Done]) -> None:
    _, ended = done
    html = Path(ended.result["report"]).read_text(encoding="utf-8")
    assert str(ended.result["report"]) in ended.out
    for member in ended.result["members"]:
        assert member["name"] in html
        assert member["name"] in ended.out
    assert ended.result["ensemble_run_id"] in html
    assert "data:image/png;base64," in html


def test_test_openings_are_counted_on_the_model(done: tuple[Workplace, Done]) -> None:
    place, ended = done
    for run_id in (ended.result["ensemble_run_id"], *(member["run_id"] for member in ended.result["members"])):
        assert place.run(run_id).data.tags["ferlab.test_openings"] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in SWEPT])
def test_a_card_of_a_sweep(file: Path, tmp_path: Path, store_template: Path) -> None:
    shutil.copy(store_template / "mlflow.db", tmp_path / "mlflow.db")
    place = Workplace(tmp_path)
    ended = place.ferlab(*command_of(file), "debug=fast", "sweep.trials=3", "hydra.launcher.n_jobs=1")
    assert ended.code == 0, ended.err
    (swept,) = by_stage(place)["sweep"]
    assert swept.info.status == "FINISHED"
    varied = set(yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"])
    for run in by_stage(place)["train"]:
        assert run.data.tags["mlflow.parentRunId"] == swept.info.run_id
        assert set(json.loads(run.data.tags["ferlab.sweep.values"])) == varied
    assert len(by_stage(place)["train"]) == 3


@pytest.mark.slow
def test_the_card_of_a_student_needs_a_teacher_and_learns_from_it(tmp_path: Path, store_template: Path) -> None:
    shutil.copy(store_template / "mlflow.db", tmp_path / "mlflow.db")
    place = Workplace(tmp_path)
    (file,) = (file for file in EXPERIMENTS if file.stem == "fer2013_distilled")
    *command, asked = command_of(file)
    assert asked == "teacher=RUN"
    alone = place.ferlab(*command, "debug=fast")
    assert alone.code != 0
    assert "teacher" in alone.err
    taught = place.ferlab(*command, "debug=fast", "recipe=quick")
    assert taught.code == 0, taught.err
    student = place.ferlab(*command, "debug=fast", f"teacher={taught.result['run_id']}")
    assert student.code == 0, student.err
    (run,) = (run for run in place.runs() if run.info.run_id == student.result["run_id"])
    assert run.data.tags["ferlab.from.teacher"] == taught.result["run_id"]


class TestAfterQuickstart:
    """More commands on the home that the quickstart left."""

    @pytest.fixture(scope="class", autouse=True)
    def _quickstart_only(self, done: tuple[Workplace, Done]) -> None:
        if by_stage(done[0])["pipeline"][0].data.params["study"] != DEFAULT:
            pytest.skip("one experiment is enough")

    def test_a_second_preparation_is_reused(self, done: tuple[Workplace, Done]) -> None:
        place, _ = done
        before = len(place.runs())
        again = place.ferlab("prepare", "dataset.synthesize.count=140")
        assert again.code == 0
        assert again.result["reused"]
        assert "reused" in again.out
        assert len(place.runs()) == before

    def test_evaluating_again_counts_and_gives_the_same(self, done: tuple[Workplace, Done]) -> None:
        place, ended = done
        ensemble = ended.result["ensemble_run_id"]
        again = place.ferlab("evaluate", f"run={ensemble[:8]}")
        assert again.code == 0, again.err
        assert again.result["metrics"] == ended.result["metrics"]
        assert place.run(ensemble).data.tags["ferlab.test_openings"] == "2"
        assert place.run(again.result["run_id"]).data.tags["ferlab.from.model"] == ensemble

    def test_training_never_opens_the_test_shards(self, done: tuple[Workplace, Done]) -> None:
        """They are overwritten by zeros of the same length: training does not notice, evaluation says so."""
        place, _ = done
        (folder,) = [file.parent for file in (place.home / "prepared").glob("*/manifest.json")]
        shards = [folder / shard.name for shard in Manifest.load(folder).split_shards("test", Opening("", 0))]
        whole = {file: file.read_bytes() for file in shards}
        for file, data in whole.items():
            file.write_bytes(bytes(len(data)))
        try:
            trained = place.ferlab("train", "debug=fast", "backbone.width=0.25", "recipe=quick", "seed=9")
            assert trained.code == 0, trained.err
            assert 0 <= trained.result["metrics"]["accuracy"]["value"] <= 1
            refused = place.ferlab("evaluate", f"run={trained.result['run_id']}")
            assert any(file.name in refused.complaint for file in shards)
        finally:
            for file, data in whole.items():
                file.write_bytes(data)
        tags = place.run(trained.result["run_id"]).data.tags
        assert tags["ferlab.test_openings"] == "1"  # the attempt counts
        failed = [run for run in place.runs() if run.info.status == "FAILED"]
        assert [run.data.tags["ferlab.stage"] for run in failed] == ["evaluate"]
        assert "UserError" in failed[0].data.tags["ferlab.error"]

    def test_a_run_without_a_model_cannot_be_evaluated(self, done: tuple[Workplace, Done]) -> None:
        place, _ = done
        prepare = by_stage(place)["prepare"][0].info.run_id
        assert prepare in place.ferlab("evaluate", f"run={prepare}").complaint

    def test_runs_can_be_compared(self, done: tuple[Workplace, Done]) -> None:
        place, ended = done
        compared = place.ferlab("compare", f"study={DEFAULT}", "evaluation.resamples=100")
        assert compared.code == 0, compared.err
        expected = {*(member["run_id"] for member in ended.result["members"]), ended.result["ensemble_run_id"]}
        assert {row["run_id"] for row in compared.result["runs"]} >= expected
        assert len({row["dataset_digest"] for row in compared.result["runs"]}) == 1
