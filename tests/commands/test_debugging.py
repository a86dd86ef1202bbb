"""Runs of a debug level, and repetitions of a run, do not stand among results."""

from dataclasses import replace
from typing import Any

import pytest

from ferlab.commands.compare import run as compare
from ferlab.commands.contestants import group_of, repetitions_of
from ferlab.commands.debugging import check_by_heart, nothing_in_the_way
from ferlab.commands.ensemble_members import chosen_members
from ferlab.config.nodes import (
    Augment,
    Backbone,
    Combination,
    Compute,
    Dataset,
    Debug,
    Intervals,
    Phase,
    Preparation,
    Recipe,
)
from ferlab.config.schema import CompareConfig, EnsembleConfig, TrainConfig
from ferlab.errors import UserError
from ferlab.tracking.records import add_tag, find_run
from ferlab.training.checkpoint import Progress


def compared(place: Any, **settings: Any) -> list[str]:
    found = compare(CompareConfig("study", evaluation=Intervals(100, 0), **settings), place.context)
    return [row["run_id"] for row in found["runs"]]


def members(place: Any, **settings: Any) -> list[str]:
    config = EnsembleConfig(ensemble=Combination("mean"), compute=Compute("local"), **settings)
    return [record.id for record in chosen_members(config, place.context).records]


def test_a_study_is_compared_and_combined_without_them(recorded: Any) -> None:
    place = recorded("compare")
    ids = [place.train(name, seed) for seed, name in enumerate("abcd")]
    add_tag(ids[1], "debug", "limit")
    add_tag(ids[2], "ferlab.reproduces", ids[0])
    assert set(compared(place)) == {ids[0], ids[3]}
    assert "left out: 1 runs of a debug level in study=study" in place.printed.getvalue()
    assert members(place, study="study") == [ids[0], ids[3]]
    assert set(compared(place, runs=ids)) == set(ids), "whoever is named is taken"
    assert f"run {ids[1]} (b) is of debug=limit" in place.printed.getvalue()


def test_a_study_of_debug_runs_alone_can_be_tried_out(recorded: Any) -> None:
    place = recorded("compare")
    ids = [place.train(name, seed) for seed, name in enumerate("ab")]
    for one in ids:
        add_tag(one, "debug", "fast")
    assert set(members(place, study="study")) == set(ids)
    assert "all 2 runs are of a debug level" in place.printed.getvalue()


def test_repetitions_differ_in_their_seed_alone(recorded: Any) -> None:
    place = recorded("compare")
    first, second = place.train("a", 0), place.train("b", 1)
    place.train("another network", 2, width=0.5)
    again = place.train("a-again", 0)
    add_tag(again, "ferlab.reproduces", first)
    assert {one.id for one in repetitions_of(find_run(first))} == {first, second}


def test_a_run_from_before_the_debug_levels_is_a_repetition_too(recorded: Any) -> None:
    place = recorded("compare")
    now = find_run(place.train("a", 0))
    limits = {"debug.share": "1.0", "debug.batches": "0", "debug.repeats": "1", "debug.profile_steps": "0"}
    assert group_of(replace(now, params=now.params | limits)) == group_of(now)
    assert group_of(replace(now, params=now.params | limits | {"debug.share": "0.5"})) != group_of(now)


def test_learning_by_heart_leaves_nothing_in_the_way() -> None:
    recipe = Recipe("r", [Phase("all", 3, 0.1)], label_smoothing=0.1, balance="sampling", patience=2, ema=0.9,
                    sharpness=0.05, distill=0.5, loss="focal", batch_size=8)  # fmt: skip
    config = TrainConfig(
        "study", Dataset("synthetic", protocol="carved"), Preparation(), Compute("local"), Debug("overfit", batches=2),
        Backbone("seq1", dropout=0.5, width=0.5), recipe, Augment("strong", flip=True, mixup=0.2), teacher="x",
    )  # fmt: skip
    plain = nothing_in_the_way(config)
    assert plain.augment == Augment("none")
    assert plain.teacher is None
    assert (plain.backbone.dropout, plain.backbone.width) == (0.0, 0.5)
    left = plain.recipe
    assert (left.label_smoothing, left.ema, left.sharpness, left.distill) == (0.0, 0.0, 0.0, 0.0)
    assert (left.balance, left.patience, left.loss, left.phases) == ("none", 0, "focal", recipe.phases)
    assert nothing_in_the_way(plain) == plain


def test_it_ends_well_only_when_nearly_all_are_known(recorded: Any) -> None:
    place = recorded("train")
    with place.context.store.run("train", "study", "knows") as run:
        check_by_heart(run, Progress(best_accuracy=0.995, epoch=3), place.context)
    assert find_run(run.id).metrics["by_heart_accuracy"] == 0.995
    assert "knows: 99.5 % of the images known by heart after 3 epochs" in place.printed.getvalue()
    missed = pytest.raises(UserError, match=r"71\.0 % of the images .* 99 % are wanted")
    with missed, place.context.store.run("train", "study", "fails") as run:
        check_by_heart(run, Progress(best_accuracy=0.71, epoch=3), place.context)
    assert find_run(run.id).status == "FAILED"
