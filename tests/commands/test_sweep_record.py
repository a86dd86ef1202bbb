"""What MLflow shows of a sweep fits in where it cuts, means over seeds first; the whole is a file."""

from typing import Any

from ferlab.commands.launch import Context
from ferlab.commands.sweep_record import MOST_SHOWN, NOTE, NOTE_LENGTH, SUMMARY, log_summary
from ferlab.sweeping.children import FINISHED, Child
from ferlab.sweeping.space import Space
from ferlab.tracking.records import RunRecord, find_run


def children(names: int, length: int) -> list[Child]:
    """Two seeds of so many settings."""
    made = []
    for number in range(2 * names):
        value, seed = f"{number // 2:0{length}}", str(number % 2)
        values, metrics = {"augment": value, "seed": seed}, {"val_accuracy": number / (2 * names), "epochs": 3.0}
        made.append(Child(f"{number:032x}", f"{value}-s{seed}", number, 0, FINISHED, values, metrics, 1.0, ""))
    return made


def logged(context: Context, found: list[Child]) -> RunRecord:
    with context.store.run("sweep", "study", "many") as run:
        log_summary(run, found, Space((), ()), ["accuracy"])
    return find_run(run.id)


def test_many_jobs_are_cut_in_the_note_and_whole_in_the_file(place: Any) -> None:
    record = logged(place.context, children(60, 4))
    note, whole = record.tags[NOTE], record.artifact(SUMMARY).read_text()
    assert len(note) <= NOTE_LENGTH
    assert note.startswith("Best by accuracy: [0059-s1](#/experiments/")
    assert note.index("Over seeds") < note.index("Jobs")
    assert note.count("-s0 |") + note.count("-s1 |") == MOST_SHOWN
    assert f"The first {MOST_SHOWN} rows of each; the whole is in {SUMMARY}." in note
    assert whole.index("Over seeds") < whole.index("Jobs")
    assert whole.count("-s0 |") + whole.count("-s1 |") == 120


def test_long_names_are_fewer_rows_and_few_jobs_are_all_there(place: Any) -> None:
    long = logged(place.context, children(60, 300)).tags[NOTE]
    assert NOTE_LENGTH - 1000 < len(long) <= NOTE_LENGTH
    few = logged(place.context, children(2, 4)).tags[NOTE]
    assert few.count("-s0 |") + few.count("-s1 |") == 4
    assert "The first" not in few
