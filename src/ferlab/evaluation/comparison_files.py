"""A comparison as files for other programs: CSV with every number, Markdown and LaTeX with its tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from ferlab.evaluation.comparison import Block, Ranked, reasons
from ferlab.evaluation.comparison_report import tables_of
from ferlab.evaluation.metrics import HEADLINE
from ferlab.evaluation.table_formats import as_csv, as_latex, as_markdown

COSTS = ("parameters", "mflops", "latency_ms", "size_mb", "images_per_s", "minutes", "openings")


def csv_of(blocks: Sequence[Block]) -> str:
    """A row for every run of every block with all numbers, unrounded; empty where there is none.

    ``block`` is the number of its ranking, ``reason`` why that is not the first one.
    """
    rows = [
        {"block": number, "reason": reason} | _numbers(block, row)
        for number, (block, reason) in enumerate(_with_reasons(blocks), start=1)
        for row in block.rows
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return as_csv(columns, [[row.get(name) for name in columns] for row in rows])


def markdown_of(blocks: Sequence[Block]) -> str:
    """All tables; those of a block that is not the first stand below the reason."""
    parts = []
    for block, reason in _with_reasons(blocks):
        parts += [f"{reason}\n"] if reason else []
        parts += map(as_markdown, tables_of(block))
    return "\n".join(parts)


def latex_of(blocks: Sequence[Block]) -> str:
    """All tables, each a ``tabular``; reasons for blocks of their own are comments."""
    parts = []
    for block, reason in _with_reasons(blocks):
        parts += [f"% {reason}\n"] if reason else []
        parts += map(as_latex, tables_of(block))
    return "\n".join(parts)


def _with_reasons(blocks: Sequence[Block]) -> Iterator[tuple[Block, str]]:
    return zip(blocks, ["", *reasons(blocks)], strict=True)


def _numbers(block: Block, row: Ranked) -> dict[str, Any]:
    run = row.run
    found: dict[str, Any] = {
        "protocol": block.protocol, "split": block.split, "dataset_digest": block.digest, "run_id": run.id,
        "name": run.name, "group": run.group, "seed": run.seed, "n": block.n,
    }  # fmt: skip
    for name in HEADLINE:
        estimate = row.scores.estimates[name]
        found |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return found | _tested(row) | _by_class(block, row) | _over_seeds(block, run.group) | _costs(row)


def _tested(row: Ranked) -> dict[str, Any]:
    """McNemar's test and the difference of every measure to the baseline; None for the baseline itself."""
    against = row.against
    found: dict[str, Any] = {
        "only_baseline_right": against and against.mcnemar.only_first,
        "only_run_right": against and against.mcnemar.only_second,
        "p_mcnemar": against and against.mcnemar.p_value,
        "p_holm": against and against.adjusted,
    }
    for name in HEADLINE:
        gap = against.differences[name] if against else None
        found |= {
            f"difference_{name}": gap and gap.value,
            f"difference_{name}_low": gap and gap.low,
            f"difference_{name}_high": gap and gap.high,
            f"difference_{name}_p": gap and gap.p_value,
            f"difference_{name}_p_holm": against and against.adjusted_differences[name],
        }
    return found


def _by_class(block: Block, row: Ranked) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base, mine in zip(block.baseline.scores.per_class, row.scores.per_class, strict=True):
        found[f"recall_{mine.name}"] = mine.recall
        found[f"recall_difference_{mine.name}"] = mine.recall - base.recall if row.against else None
    return found


def _over_seeds(block: Block, group: str) -> dict[str, Any]:
    spread = next((one.spread for one in block.seeds if one.group == group), None)
    found: dict[str, Any] = {"seeds": spread and spread[HEADLINE[0]].n}
    for name in HEADLINE:
        found |= {
            f"{name}_mean_over_seeds": spread and spread[name].mean,
            f"{name}_std_over_seeds": spread and spread[name].std,
        }
    return found


def _costs(row: Ranked) -> dict[str, Any]:
    return {name: getattr(row.run.costs, name) for name in COSTS}
