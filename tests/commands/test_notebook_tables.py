"""Recorded runs as a notebook sees them."""

from typing import Any

from ferlab import notebook


def test_recorded_runs_are_tables(recorded: Any) -> None:
    from ferlab.evaluation.comparison_report import main_table

    place = recorded("runs")
    first, second = place.train("first", 0), place.train("second", 1)
    table = notebook.runs("tags.`ferlab.stage` = 'train'", "study")
    assert table["run_id"].tolist() == [second, first]
    assert table["train_minutes"].tolist() == [1.5, 1.5]
    found = notebook.predictions("first")
    assert found.run_id == first
    (block,) = notebook.compared("study")
    frame = notebook.frame(main_table(block))
    assert set(frame.index) == {"first", "second"}
    ids = [found.ids[3], found.ids[0], found.ids[3]]
    shown = notebook.faces(found, ids)
    assert [face.shape for face in shown] == [(48, 48)] * 3
    assert (shown[0] == shown[2]).all()
    assert not (shown[0] == shown[1]).all()
