"""Comparisons: blocks, ranking, tests against the baseline, seeds; and what stands in the files."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from ferlab.errors import UserError
from ferlab.evaluation.comparison import Contestant, Costs, compare, reasons, recall_differences
from ferlab.evaluation.comparison_files import csv_of, latex_of, markdown_of
from ferlab.evaluation.comparison_report import document_of, tables_of
from ferlab.evaluation.document import render

from .conftest import Page, guessed


def run(name: str, seed: int, right: float, group: str = "", **changes) -> Contestant:
    run_id = f"{name}-{seed}".ljust(32, "0")
    predictions = replace(guessed(run_id, seed, right), **changes)
    return Contestant(run_id, name, group or run_id, predictions, Costs(parameters=1000.0 + seed), str(seed))


def test_runs_are_ranked_by_accuracy_and_tested_against_the_best_one() -> None:
    runs = [run("weak", 1, 0.4), run("best", 2, 0.8), run("fair", 3, 0.6)]
    (block,) = compare(runs, None, 200, 0)
    assert not block.baseline_named
    assert "explore only" in tables_of(block)[0].caption
    assert [row.run.name for row in block.rows] == ["best", "fair", "weak"]
    assert block.baseline.run.name == "best"
    best = block.baseline.run.predictions
    for row in block.rows[1:]:
        found = row.run.predictions
        only_best = int(((best.predicted == best.labels) & (found.predicted != found.labels)).sum())
        only_run = int(((best.predicted != best.labels) & (found.predicted == found.labels)).sum())
        test = row.against.mcnemar
        assert (test.only_first, test.only_second) == (only_best, only_run)
        assert test.p_value == pytest.approx(binomtest(only_best, only_best + only_run).pvalue)
        difference = (found.predicted == found.labels).mean() - (best.predicted == best.labels).mean()
        assert row.against.differences["accuracy"].value == pytest.approx(difference)
    raw = sorted(row.against.mcnemar.p_value for row in block.rows[1:])
    assert sorted(row.against.adjusted for row in block.rows[1:]) == pytest.approx(
        [min(2 * raw[0], 1), max(min(2 * raw[0], 1), raw[1])]
    )


def test_order_of_samples_changes_nothing() -> None:
    first, second = run("a", 1, 0.6), run("b", 2, 0.7)
    order = np.random.default_rng(0).permutation(len(second.predictions))
    kept = second.predictions
    shuffled = replace(
        second,
        predictions=replace(
            kept,
            ids=tuple(kept.ids[i] for i in order),
            labels=kept.labels[order],
            probabilities=kept.probabilities[order],
        ),
    )
    straight, turned = (compare([first, one], first.id, 200, 0)[0] for one in (second, shuffled))
    assert straight.challenger.against == turned.challenger.against


def test_a_chosen_baseline_stands_whatever_its_rank() -> None:
    runs = [run("weak", 1, 0.4), run("best", 2, 0.8)]
    (block,) = compare(runs, runs[0].id, 200, 0)
    assert block.baseline.run.name == "weak"
    assert "explore only" not in tables_of(block)[0].caption
    assert block.challenger.against.differences["accuracy"].low > 0


@pytest.mark.parametrize(
    "change",
    [{"protocol": "fer2013/official"}, {"dataset_digest": "e" * 64}, {"taxonomy": "other"}, {"split": "validation"}],
    ids=str,
)
def test_runs_that_cannot_be_ranked_stand_in_blocks_of_their_own(change: dict[str, str]) -> None:
    runs = [run("a", 1, 0.5), run("b", 2, 0.6), run("other", 3, 0.9, **change)]
    blocks = compare(runs, None, 100, 0)
    assert [[row.run.name for row in block.rows] for block in blocks] == [["b", "a"], ["other"]]
    (reason,) = reasons(blocks)
    key, value = next(iter(change.items()))
    assert key == "split" or value[:8] in reason
    text = Page(render(document_of(blocks, "t"))).text
    assert "never ranked together" in text


def test_other_samples_are_another_block() -> None:
    whole = run("a", 1, 0.5)
    part = replace(run("b", 2, 0.6), predictions=guessed("b", 2, 0.6, size=200))
    blocks = compare([whole, part], None, 100, 0)
    assert len(blocks) == 2
    assert "other samples" in reasons(blocks)[0]


def test_seeds_are_gathered_with_mean_and_deviation() -> None:
    runs = [run(f"seq1-s{seed}", seed, 0.6, "same") for seed in range(3)] + [run("alone", 9, 0.5)]
    (block,) = compare(runs, None, 100, 0)
    (group,) = block.seeds
    values = [(one.predictions.predicted == one.predictions.labels).mean() for one in runs[:3]]
    spread = group.spread["accuracy"]
    assert (group.name, spread.n) == ("seq1", 3)
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.std == pytest.approx(np.std(values, ddof=1))
    assert any("±" in cell for table in tables_of(block) for row in table.rows for cell in row)


def test_a_repetition_with_the_same_seed_is_no_second_seed() -> None:
    first, other = run("seq1-s0", 0, 0.6, "same"), run("seq1-s1", 1, 0.6, "same")
    again = replace(run("seq1-s0", 2, 0.9, "same"), seed=first.seed)
    (alone,) = compare([first, again], None, 100, 0)
    assert alone.seeds == ()
    (block,) = compare([first, again, other], None, 100, 0)
    (group,) = block.seeds
    values = [(one.predictions.predicted == one.predictions.labels).mean() for one in (first, other)]
    assert group.spread["accuracy"].n == 2
    assert group.spread["accuracy"].mean == pytest.approx(np.mean(values)), "the first one named stands for its seed"


def test_recall_differences_are_of_every_class() -> None:
    (block,) = compare([run("a", 1, 0.5), run("b", 2, 0.8)], None, 100, 0)
    names, table = recall_differences(block)
    assert len(names) == 1
    base, other = block.baseline.run.predictions, block.challenger.run.predictions
    for place in range(7):
        of_class = base.labels == place
        expected = (other.predicted[of_class] == place).mean() - (base.predicted[of_class] == place).mean()
        assert table[0, place] == pytest.approx(expected)


def test_csv_holds_every_run_unrounded() -> None:
    blocks = compare([run("a", 1, 0.5), run("b", 2, 0.8), run("c", 3, 0.7, dataset_digest="e" * 64)], None, 100, 0)
    rows = list(csv.DictReader(io.StringIO(csv_of(blocks))))
    assert [row["name"] for row in rows] == ["b", "a", "c"]
    block = blocks[0]
    assert float(rows[1]["accuracy"]) == block.rows[1].scores.estimates["accuracy"].value
    against = block.rows[1].against
    assert float(rows[1]["p_holm"]) == against.adjusted
    assert rows[0]["p_holm"] == ""
    assert float(rows[1]["parameters"]) == 1001
    for name, gap in against.differences.items():
        ends = [float(rows[1][f"difference_{name}{end}"]) for end in ("", "_low", "_high", "_p", "_p_holm")]
        assert ends == [gap.value, gap.low, gap.high, gap.p_value, against.adjusted_differences[name]]
        assert rows[0][f"difference_{name}"] == ""
    _, differences = recall_differences(block)
    for place, of_class in enumerate(block.rows[1].scores.per_class):
        assert float(rows[1][f"recall_{of_class.name}"]) == of_class.recall
        assert float(rows[1][f"recall_difference_{of_class.name}"]) == differences[0, place]
    assert rows[0]["recall_difference_happy"] == ""


def test_csv_holds_the_spread_over_seeds() -> None:
    runs = [run(f"seq1-s{seed}", seed, 0.6, "same") for seed in range(3)] + [run("alone", 9, 0.5)]
    (block,) = compare(runs, None, 100, 0)
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(csv_of([block])))}
    spread = block.seeds[0].spread["macro_f1"]
    for name in ("seq1-s0", "seq1-s2"):
        assert (rows[name]["seeds"], rows[name]["seed"]) == ("3", name[-1])
        assert float(rows[name]["macro_f1_mean_over_seeds"]) == spread.mean
        assert float(rows[name]["macro_f1_std_over_seeds"]) == spread.std
    assert rows["alone"]["seeds"] == rows["alone"]["macro_f1_std_over_seeds"] == ""


def test_two_runs_have_a_table_of_every_measure() -> None:
    runs = [run("old", 1, 0.5), run("new", 2, 0.8)]
    (block,) = compare(runs, runs[0].id, 200, 0)
    (table,) = [one for one in tables_of(block) if one.columns[0] == "measure"]
    against = block.challenger.against
    assert f"the baseline alone {against.mcnemar.only_first} times" in table.caption
    assert f"new {runs[1].id[:6]} alone {against.mcnemar.only_second} times" in table.caption
    assert table.caption.endswith("p < .0001")
    for (name, gap), row in zip(against.differences.items(), table.rows, strict=True):
        base, mine = (one.scores.estimates[name].value for one in (block.baseline, block.challenger))
        factor, digits = (1, 3) if name == "mcc" else (100, 1)
        assert row[1:3] == [f"{factor * value:.{digits}f}" for value in (base, mine)]
        assert row[3].startswith(f"{factor * gap.value:+.{digits}f} [{factor * gap.low:+.{digits}f}, ")
    (three,) = compare([*runs, run("third", 3, 0.6)], None, 100, 0)
    assert "measure" not in [one.columns[0] for one in tables_of(three)]


def test_more_runs_have_every_difference_with_its_adjusted_p() -> None:
    runs = [run("old", 1, 0.5), run("new", 2, 0.55), run("third", 3, 0.6)]
    (block,) = compare(runs, runs[0].id, 200, 0)
    (table,) = [one for one in tables_of(block) if one.caption.startswith("Differences")]
    tested = [row for row in block.rows if row.against]
    assert [row[0] for row in table.rows] == [row.run.label for row in tested]
    for shown, row in zip(table.rows, tested, strict=True):
        for cell, (name, gap) in zip(shown[1:], row.against.differences.items(), strict=True):
            factor, digits = (1, 3) if name == "mcc" else (100, 1)
            assert cell.startswith(f"{factor * gap.value:+.{digits}f} [{factor * gap.low:+.{digits}f}, ")
            assert float(cell.rpartition("] ")[2]) == pytest.approx(row.against.adjusted_differences[name], abs=5e-4)
    assert any(
        row.against.adjusted_differences[name] != gap.p_value
        for row in tested
        for name, gap in row.against.differences.items()
    ), "nothing was adjusted that could show"


def test_recall_by_category_is_a_table_against_the_baseline() -> None:
    runs = [run("old", 1, 0.5), run("new", 2, 0.8)]
    (block,) = compare(runs, runs[0].id, 100, 0)
    (table,) = [one for one in tables_of(block) if one.caption.startswith("Recall by category")]
    _, differences = recall_differences(block)
    assert table.columns[1:] == [row.name for row in block.baseline.scores.per_class]
    assert table.rows == [[block.challenger.run.label, *(f"{100 * gap:+.1f}" for gap in differences[0])]]
    (alone,) = compare(runs[:1], None, 100, 0)
    assert not [one for one in tables_of(alone) if one.caption.startswith("Recall by category")]


def test_why_runs_stand_apart_is_said_in_every_text() -> None:
    blocks = compare([run("a", 1, 0.5), run("b", 2, 0.6), run("c", 3, 0.9, dataset_digest="e" * 64)], None, 100, 0)
    (reason,) = reasons(blocks)
    assert reason in markdown_of(blocks)
    assert f"% {reason}\n" in latex_of(blocks)
    rows = list(csv.DictReader(io.StringIO(csv_of(blocks))))
    assert [(row["block"], row["reason"]) for row in rows] == [("1", ""), ("1", ""), ("2", reason)]


def test_what_a_run_costs_stands_there_or_a_dash() -> None:
    fast = replace(run("fast", 1, 0.8), costs=Costs(latency_ms=3.14159))
    blocks = compare([fast, run("unknown", 2, 0.5)], None, 100, 0)
    table = tables_of(blocks[0])[-1]
    place = table.columns.index("ms")
    assert [row[place] for row in table.rows] == ["3.1", "-"]
    assert [row["latency_ms"] for row in csv.DictReader(io.StringIO(csv_of(blocks)))] == ["3.14159", ""]


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(UserError, match="named twice"):
        compare([run("a", 1, 0.5)] * 2, None, 100, 0)


def test_one_run_alone_is_shown_without_tests() -> None:
    (block,) = compare([run("a", 1, 0.5)], None, 100, 0)
    assert block.challenger is None
    assert Page(render(document_of([block], "t"))).open == []
