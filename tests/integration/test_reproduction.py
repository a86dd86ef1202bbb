"""A deterministic training repeats to the last bit; a changed line is named; variants and debug levels end as said."""

from pathlib import Path
from typing import Any

import pytest

from .conftest import Done, Workplace, checked_out

pytestmark = pytest.mark.slow

TRAIN = (
    "train",
    "dataset.synthesize.count=210",
    "backbone.width=0.25",
    "recipe=quick",
    "recipe.batch_size=32",
    "recipe.phases.0.epochs=3",
    "recipe.precision=float32",
    "deterministic=true",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the working tree as it is now, whose code the commands of this module run."""
    return checked_out(tmp_path_factory.mktemp("checkout") / "ferlab")


@pytest.fixture
def place(workplace: Workplace, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setenv("PYTHONPATH", str(checkout / "src"))
    return workplace


@pytest.fixture(scope="module")
def trained(workplace: Workplace, checkout: Path) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(checkout / "src"))
        done = workplace.ferlab(*TRAIN)
    assert done.code == 0, done.err
    return done


def test_a_deterministic_training_repeats_to_the_last_bit(place: Workplace, trained: Done) -> None:
    run_id = trained.result["run_id"]
    done = place.ferlab("reproduce", f"run={run_id}")
    assert done.code == 0, done.err
    found = done.result
    assert (found["verdict"], found["expected_bit_equal"]) == ("bit-equal", True)
    assert {row["same"] for row in found["environment"]} == {True}
    assert found["files"] == []
    assert found["predictions"]["bit_equal"]
    assert found["first_epoch"] is None
    assert {name: value["now"] for name, value in found["metrics"].items()} == {
        name: value["value"] for name, value in trained.result["metrics"].items()
    }
    again = place.run(found["run_id"]).data.tags
    assert again["ferlab.reproduces"] == run_id
    assert again["ferlab.from.reproduced"] == run_id
    assert place.run(run_id).data.tags["ferlab.reproduced"] == f"bit-equal by {found['run_id']}"
    assert (place.artifacts(found["run_id"]) / "reproduction.json").is_file()


def test_looking_trains_nothing(place: Workplace, trained: Done) -> None:
    before = len(place.runs())
    done = place.ferlab("reproduce", f"run={trained.result['run_id']}", "check=true")
    assert (done.code, done.result["verdict"], done.result["run_id"]) == (0, "same", None)
    assert len(place.runs()) == before


def test_one_changed_line_is_named_and_how_to_go_back(place: Workplace, trained: Done, checkout: Path) -> None:
    file = checkout / "src" / "ferlab" / "training" / "losses.py"
    kept = file.read_text()
    try:
        file.write_text(kept + "CHANGED = 1\n")
        run_id = trained.result["run_id"]
        done = place.ferlab("reproduce", f"run={run_id}", "check=true")
        assert (done.code, done.result["verdict"]) == (3, "differs")
        assert done.result["files"] == ["src/ferlab/training/losses.py"]
        assert [row["what"] for row in done.result["environment"] if row["same"] is False] == [
            "uncommitted changes",
            "code in src/",
        ]
        commit = place.run(run_id).data.tags["git.commit"]
        assert f"worktree add --detach {checkout}-{commit[:8]}-{run_id[:6]} {commit}" in done.out
        assert "git apply" not in done.out, "the run was made of a clean checkout"
        repeated = place.ferlab("reproduce", f"run={run_id}")
        assert (repeated.code, repeated.result["verdict"]) == (0, "bit-equal"), "the line changes no number"
        assert not repeated.result["expected_bit_equal"]
    finally:
        file.write_text(kept)


def test_code_that_computes_otherwise_is_measured(place: Workplace, trained: Done, checkout: Path) -> None:
    file = checkout / "src" / "ferlab" / "training" / "inputs.py"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("self.seed, *where])", "self.seed + 1, *where])"))
        assert file.read_text() != kept
        done = place.ferlab("reproduce", f"run={trained.result['run_id']}")
    finally:
        file.write_text(kept)
    found = done.result
    assert found["verdict"] in ("within-chance", "differs")
    assert done.code == (0 if found["verdict"] == "within-chance" else 3)
    assert not found["predictions"]["bit_equal"]
    assert found["predictions"]["max_difference"] > 0
    assert found["first_epoch"] == 1
    assert "the curves part in epoch 1, from the same initial weights" in done.out


def test_from_three_seeds_on_their_spread_decides(place: Workplace, trained: Done) -> None:
    run_id = trained.result["run_id"]
    swept = place.ferlab("train", "-m", f"from_run={run_id}", "seed=1,2")
    assert swept.code == 0, swept.err
    for one in swept.result:
        tags = place.run(one["run_id"]).data.tags
        assert (tags["ferlab.from.run"], tags["ferlab.changes"]) == (run_id, f"seed={tags['seed']}")
    done = place.ferlab("reproduce", f"run={run_id}")
    assert done.result["verdict"] == "bit-equal"
    assert {value["judged_by"] for value in done.result["metrics"].values()} == {"seeds"}


def test_a_group_of_a_recorded_run_is_replaced_and_trained(place: Workplace, trained: Done) -> None:
    run_id = trained.result["run_id"]
    done = place.ferlab("train", f"from_run={run_id}", "backbone=seq2", "backbone.width=0.25")
    assert done.code == 0, done.err
    then, now = (place.run(one).data.params for one in (run_id, done.result["run_id"]))
    assert {key.partition(".")[0] for key in now if now[key] != then.get(key)} == {"backbone"}


def test_other_data_is_not_trained_on(place: Workplace, trained: Done) -> None:
    csv = next((place.home / "synthetic").glob("*/fer2013.csv"))
    kept, before = csv.read_bytes(), len(place.runs())
    header, *rows = kept.splitlines(keepends=True)
    try:
        csv.write_bytes(b"".join([header, *rows[3:]]))
        done = place.ferlab("reproduce", f"run={trained.result['run_id']}")
    finally:
        csv.write_bytes(kept)
    assert (done.code, done.result["verdict"]) == (3, "other-data")
    new = {run.data.tags["ferlab.stage"] for run in place.runs()[before:]}
    assert new <= {"prepare"}


def test_a_few_batches_are_learned_by_heart(place: Workplace) -> None:
    done = place.ferlab("train", "debug=overfit", *TRAIN[1:5], "recipe.label_smoothing=0.3", "augment=strong")
    assert done.code == 0, done.err
    run = place.run(done.result["run_id"])
    assert run.data.metrics["by_heart_accuracy"] >= 0.99
    assert run.data.tags["debug"] == "overfit"
    assert (run.data.params["recipe.label_smoothing"], run.data.params["augment.name"]) == ("0.0", "none")


def test_what_cannot_be_learned_by_heart_fails(place: Workplace) -> None:
    settings = ("recipe.phases.0.learning_rate=1e-6", "debug.repeats=1", "debug.max_epochs=2")
    done = place.ferlab("train", "debug=overfit", *TRAIN[1:5], *settings)
    assert "known by heart after 2 epochs, 99 % are wanted" in done.complaint
    assert place.runs()[-1].info.status == "FAILED"


def test_a_share_of_the_data_trains_as_all_of_it(place: Workplace) -> None:
    done = place.ferlab("train", "debug=limit", "debug.share=0.5", *TRAIN[1:6])
    assert done.code == 0, done.err
    run = place.run(done.result["run_id"])
    assert run.data.tags["debug"] == "limit"
    assert run.data.metrics["epochs"] == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run=nobody",), "run=nobody: no such run"),
        ((), "run: must be given"),
        (("run=PREPARE",), "is prepare: trainings are repeated"),
        (("run=TRAIN", "device=tpu"), "device: must be one of auto, cpu, gpu"),
        (("run=TRAIN", "root=/nowhere"), "dataset.root"),
    ],
)
def test_wrong_input_is_one_line(place: Workplace, trained: Done, arguments: tuple[str, ...], complaint: str) -> None:
    prepare = next(run for run in place.runs() if run.data.tags.get("ferlab.stage") == "prepare")
    named = {"PREPARE": prepare.info.run_id, "TRAIN": trained.result["run_id"]}
    given: list[Any] = [key.partition("=") for key in arguments]
    done = place.ferlab("reproduce", *(f"{key}={named.get(value, value)}" for key, _, value in given))
    assert complaint in done.complaint
