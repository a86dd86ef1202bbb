"""``ferlab runs`` on a real store: lists, filters, one screen, deleting, and tidying that spares what lives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ferlab.commands.run_screen import differences, scores_by_split
from ferlab.commands.runs import age
from ferlab.errors import UserError
from ferlab.tracking.records import find_run


def test_runs_are_listed_newest_first_and_filtered(place: Any) -> None:
    place.made("old", accuracy=0.5)
    place.made("better", accuracy=0.7)
    place.made("data", stage="prepare", study="other")
    with pytest.raises(ValueError, match="broken"), place.context.store.run("train", "study", "bad"):
        raise ValueError("broken")
    assert place.listed() == ["bad", "data", "better", "old"]
    assert place.listed(limit=2) == ["bad", "data"]
    assert place.listed(study="other") == ["data"]
    assert place.listed(stage="train") == ["bad", "better", "old"]
    assert place.listed(status="failed") == ["bad"]
    assert place.listed(where="metrics.val_accuracy > .6") == ["better"]
    assert place.listed(where="metrics.val_accuracy > .4", stage="train", study="study", limit=1) == ["better"]
    first = place.asked(limit=1, where="metrics.val_accuracy > 0")["runs"][0]
    assert (first["val_accuracy"], first["test_openings"], first["status"]) == (0.7, 0, "FINISHED")
    printed = place.printed.getvalue()
    assert "70.0" in printed
    assert first["run_id"][:12] in printed


def test_a_list_without_runs_says_so(place: Any) -> None:
    assert place.listed() == []
    assert "no runs yet" in place.printed.getvalue()
    place.made("one")
    assert place.listed(stage="ensemble") == []
    assert "no run fits" in place.printed.getvalue()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"where": "metrics.x >"}, "where=metrics.x >: MLflow does not understand"),
        ({"where": "nonsense = 1"}, "where=nonsense = 1: MLflow does not understand"),
        ({"study": "nowhere"}, "study=nowhere: no such study"),
        ({"show": "nobody"}, "run=nobody: no such run"),
        ({"delete": ["nobody"]}, "run=nobody: no such run"),
        ({"restore": ["nobody"]}, "restore=nobody: must be one deleted run, found none"),
        ({"gc": True, "show": "x"}, "show and gc: one thing at a time"),
        ({"copy_to": "ftp://x"}, "no run fits, nothing to copy"),
    ],
)
def test_a_mistake_is_one_line(place: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        place.asked(**settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_run_fills_a_screen(place: Any, composing: None) -> None:
    from hydra import compose
    from omegaconf import OmegaConf

    composed = compose("train", overrides=["dataset=fer2013", "dataset.root=/faces", "backbone=mobilenetv2", "seed=3"])
    data = place.made("data", stage="prepare")
    with pytest.raises(ValueError, match="odd"), place.context.store.run("train", "mine", "net") as one:  # noqa: PT012
        one.log_config(OmegaConf.to_container(composed, resolve=True))
        one.log_metrics({"val_accuracy": 0.654, "val_accuracy_low": 0.64, "val_accuracy_high": 0.66, "epochs": 12})
        one.log_metrics({"epoch/loss": 1.0}, 1)
        one.link("prepare", [data])
        one.log_text("y" * 2_000_000, "figures/large.png")
        raise ValueError("something odd")
    result = place.asked(show=one.id[:12])
    assert result["error"] == "ValueError: something odd"
    shown = "dataset=fer2013 backbone=mobilenetv2 seed=3 dataset.root=/faces"
    assert result["settings"] == shown.split()
    assert result["next"] == [f"ferlab train resume={one.id[:12]}"]
    assert [(item["relation"], item["id"]) for item in result["relatives"]] == [("made from prepare", data)]
    assert result["artifacts"]["figures/large.png"] == 2_000_000
    printed = " ".join(place.printed.getvalue().split())
    for said in (
        "65.4 [64.0, 66.0]", "epochs 12", "figures/ 1 2.00", "something odd", "study mine",
        f"ferlab train {shown}",
    ):  # fmt: skip
        assert said in printed
    assert "epoch/loss" not in printed


def test_the_settings_shown_compose_the_recorded_config_again(place: Any, composing: None) -> None:
    from hydra import compose
    from omegaconf import OmegaConf

    given = [
        "backbone=seq2",
        "recipe=quick",
        "recipe.phases.0.epochs=2",
        "augment=strong",
        "augment.flip=false",
        "seed=9",
    ]
    config: Any = OmegaConf.to_container(compose("train", overrides=given), resolve=True)
    with place.context.store.run("train", "study", "net") as one:
        one.log_config(config)
    shown = place.asked(show=one.id)["settings"]
    assert set(given) <= set(shown)
    assert OmegaConf.to_container(compose("train", overrides=shown), resolve=True) == config


def test_a_run_that_no_command_of_ferlab_made_is_shown_too(place: Any, composing: None) -> None:
    import mlflow

    _ = place.context.store
    with mlflow.start_run(run_name="strange") as strange:
        mlflow.log_metric("score", 1.5)
    result = place.asked(show=strange.info.run_id)
    assert (result["settings"], result["stage"]) == (None, "")
    assert "score 1.5" in place.printed.getvalue()


def test_differences_are_typed_as_hydra_takes_them() -> None:
    composed = {"a": None, "b": True, "c": {"d": [1, 2]}, "e": 1, "f": [{"g": 1}]}
    recorded = {"a": "x", "b": False, "c": {"d": [3]}, "e": None, "f": [{"g": 2}], "unknown": 1}
    assert differences(recorded, composed) == ["a=x", "b=false", "c.d=[3]", "e=null", "f.0.g=2"]
    assert differences(composed, composed) == []


def test_scores_stand_by_split_and_other_numbers_apart() -> None:
    splits, others = scores_by_split(
        {"test_f1_happy": 0.5, "val_accuracy": 0.25, "val_accuracy_low": 0.2, "val_accuracy_high": 0.3, "val_nll": 0.7,
         "test_twin_free_accuracy": 0.1, "system/cpu": 3, "parameters": 1_128_647}
    )  # fmt: skip
    assert splits == {
        "val": {"accuracy": "25.0 [20.0, 30.0]"}, "test": {"f1_happy": "50.0", "twin_free_accuracy": "10.0"}
    }  # fmt: skip
    assert others == {"val_nll": "0.7", "parameters": "1,128,647"}


def test_ages_are_in_the_largest_unit() -> None:
    assert [age(s) for s in (-1, 59, 60, 3599, 3600, 86399, 86400, 10 * 86400)] == [
        "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"
    ]  # fmt: skip


def test_deleted_runs_come_back_with_their_children(place: Any) -> None:
    store = place.context.store
    with store.run("pipeline", "study", "all") as parent, store.run("train", "study", "child", parent=parent) as child:
        pass
    other = place.made("other")
    deleted = place.asked(delete=[parent.id[:8]])["deleted"]
    assert deleted == [parent.id, child.id]
    assert place.listed() == ["other"]
    assert place.listed(status="deleted") == ["child", "all"]
    with pytest.raises(UserError, match=f"was deleted. `ferlab runs restore=.{child.id}"):
        find_run(child.id)
    assert place.asked(restore=[child.id[:12], "all"])["restored"] == [child.id, parent.id]
    assert sorted(place.listed()) == ["all", "child", "other"]
    assert find_run(other).status == "FINISHED"


def test_the_command_line_lists_and_writes_json(home: Path, place: Any, tmp_path: Path) -> None:
    run_id = place.made("one", accuracy=0.5)
    out = tmp_path / "runs.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ferlab", "runs", "where=metrics.val_accuracy > .4", "--json", str(out)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60
    assert [item["run_id"] for item in json.loads(out.read_text())["runs"]] == [run_id]
    assert run_id[:12] in done.stdout
