"""Relatives of a run, both ways; the roles that are looked for are all that are written."""

import re
from pathlib import Path

from ferlab.tracking.lineage import KINDS, children, relatives
from ferlab.tracking.records import find_run
from ferlab.tracking.store import connect

SOURCES = Path(__file__).resolve().parents[2] / "src" / "ferlab"


def test_every_role_that_is_written_is_looked_for() -> None:
    written = {
        kind
        for file in SOURCES.rglob("*.py")
        for kind in re.findall(r"(?:\.link\(\"|ferlab\.from\.)(\w+)", file.read_text("utf-8"))
    }
    assert written == set(KINDS)


def test_relatives_are_found_both_ways(home: Path) -> None:
    store = connect(home, home)
    with store.run("pipeline", "s", "all") as parent:
        with store.run("prepare", "s", "data", parent=parent) as data:
            pass
        with store.run("train", "s", "net", parent=parent) as net:
            net.link("prepare", [data.id])
        with store.run("ensemble", "s", "both", parent=parent) as both:
            both.link("train", ["f" * 32, net.id])
    found = [(item.relation, item.id, item.name) for item in relatives(find_run(net.id))]
    assert found == [
        ("made from prepare", data.id, "data"),
        ("is train of", both.id, "both"),
        ("belongs to", parent.id, "all"),
    ]
    assert [item.id for item in relatives(find_run(data.id))] == [net.id, parent.id]
    missing = relatives(find_run(both.id))[0]
    assert (missing.id, missing.name) == ("f" * 32, ""), "a source that is gone is said by its id"
    assert [run.id for run in children(parent.id)] == [data.id, net.id, both.id]
    assert [item.relation for item in relatives(find_run(parent.id))] == ["holds"] * 3
