"""``ferlab verify``: which release a copy of a dataset is, and what is wrong with it."""

import dataclasses
import os
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.opening import Opened, file_here, open_dataset
from ferlab.config.schema import VerifyConfig
from ferlab.datasets.audit.scan import gray_pixels, scan
from ferlab.datasets.catalog import images_of
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.findings import UNKNOWN
from ferlab.datasets.fingerprint.signature import builtin_signatures, load, measure, save
from ferlab.datasets.listing import Rows
from ferlab.datasets.verification import Verification, verify
from ferlab.errors import UserError
from ferlab.evaluation.audit_figures import faces_figure, twins_figure
from ferlab.evaluation.figures import class_counts_figure
from ferlab.storage.objects import is_remote
from ferlab.tracking.run import Run

ALARMS = 3
"""Exit code when the copy is not what it should be."""
FACES_A_CLASS = 10
PAIRS_SHOWN = 24


def main() -> list[Outcome]:
    """Entry point of ``ferlab verify``; the exit code of a job with alarms is ALARMS."""
    outcomes = launch("verify", VerifyConfig, run)
    return [
        dataclasses.replace(outcome, code=ALARMS) if outcome.result and outcome.result["alarms"] else outcome
        for outcome in outcomes
    ]


def run(config: VerifyConfig, context: Context) -> dict[str, Any]:
    """Look at every image; the result has verdict, release, known, alarms, counts and the numbers of the audit."""
    target = _signature_path(config.write_signature)
    opened = open_dataset(config.dataset, context)
    with context.store.run("verify", config.study, f"verify-{opened.name}") as run:
        run.log_config({"dataset": context.raw["dataset"]})
        copy, votes = _look(opened, config, context)
        found = _verify(copy, opened, config, context)
        result = found.as_json() | {"source": opened.source.name, "layout": opened.source.layout}
        if votes:
            result["votes"] = _votes(votes)
        _log(run, found, result)
    _show(found, result, context)
    if target:
        if found.alarms:
            context.terminal.warn("this signature is of a copy with alarms")
        name, origin = PurePosixPath(target).stem, f"measured on {opened.source.name}"
        save(measure(copy, name, name, _images_family(opened), origin), target)
        context.terminal.say(f"signature: {target}")
    return result | {"run_id": run.id}


def _signature_path(given: str | None) -> str | None:
    """Where the signature goes, checked before every image is looked at; UserError when it cannot be written there."""
    if given is None or is_remote(given):
        return given
    path = Path(given).expanduser()
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        message = f"write_signature={given}: {path.parent} is no folder that can be written."
        raise UserError(message)
    return str(path)


def _look(opened: Opened, config: VerifyConfig, context: Context) -> tuple[Copy, Rows | None]:
    """The copy after its scan; of FERPlus, the images with FER-2013's labels, and the rows with the votes'."""
    cores = config.compute.cores or os.cpu_count() or 1
    rows = opened.family.read(opened.source, opened.reading)
    votes = None
    if opened.source.votes:
        family, reading = images_of(opened.family, opened.reading)
        votes, rows = rows, family.read(opened.source, reading)
    if not rows.table.num_rows:
        message = f"{opened.source.name}: holds no image of any class."
        raise UserError(message)
    with context.terminal.progress("looking at every image") as on_progress:
        return Copy(opened.source, rows, scan(rows.table, cores, on_progress)), votes


def _verify(copy: Copy, opened: Opened, config: VerifyConfig, context: Context) -> Verification:
    if config.signature:
        return verify(copy, [load(file_here(config.signature, context))])
    # drawn faces imitate no release
    return verify(copy, [] if opened.name == "synthetic" else builtin_signatures(_images_family(opened)))


def _images_family(opened: Opened) -> str:
    return images_of(opened.family, opened.reading)[0].name


def _votes(rows: Rows) -> dict[str, Any]:
    parts = rows.table["part"].to_pylist()
    return {
        "counts": {part: parts.count(part) for part in dict.fromkeys(parts)},
        "excluded": rows.excluded,
        "rejected": len(rows.rejected),
    }


def _show(found: Verification, result: dict[str, Any], context: Context) -> None:
    terminal, counts = context.terminal, result["counts"]
    names = list(dict.fromkeys(name for row in counts.values() for name in row))
    terminal.table(
        f"{result['source']} ({result['layout']})",
        ["category", *counts],
        [[name, *(f"{row.get(name, 0):,}" for row in counts.values())] for name in names],
    )
    images = result["images"]
    terminal.say(
        f"{images['total']:,} images, {images['unique']:,} different; {images['duplicate_groups']:,} groups of equal "
        f"pixels with {images['surplus']:,} surplus copies"
    )
    if "votes" in result:
        listed = ", ".join(f"{part} {count:,}" for part, count in result["votes"]["counts"].items())
        terminal.say(f"with FERPlus votes: {listed}")
    for reason, count in _excluded(found, result).items():
        terminal.say(f"left out: {count:,} x {reason}")
    for line in found.known:
        terminal.say(f"known: {line}")
    for line in found.alarms:
        terminal.warn(line)
    terminal.say(f"verdict: {found.fingerprint.verdict}{_release(found)}{_alarms(found)}")


def _excluded(found: Verification, result: dict[str, Any]) -> dict[str, int]:
    """What the taxonomy leaves out, by reason; of FERPlus also what its votes leave out."""
    excluded: dict[str, int] = dict(found.copy.rows.excluded)
    return excluded | (result["votes"]["excluded"] if "votes" in result else {})


def _release(found: Verification) -> str:
    release, verdict = found.fingerprint.release, found.fingerprint.verdict
    if not release:
        return ""
    return f": not {release}" if verdict == UNKNOWN else f" of {release}"


def _alarms(found: Verification) -> str:
    count = len(found.alarms)
    return f", {count} alarm{'s' if count > 1 else ''}" if count else ""


def _log(run: Run, found: Verification, result: dict[str, Any]) -> None:
    copy, verdict = found.copy, found.fingerprint.verdict
    run.set_tags({"dataset.verdict": verdict, "dataset.alarms": str(len(found.alarms))})
    images = {f"images_{name}": value for name, value in result["images"].items() if isinstance(value, int)}
    run.log_metrics({**images, "alarms": len(found.alarms), "unusable": len(result["unusable"])})
    run.log_json(result, "audit.json")
    run.log_saved(lambda path: pa.csv.write_csv(_duplicates_table(copy), path), "duplicates.csv")
    run.log_figure(class_counts_figure(copy.counts, "Images per category"), "figures/class_counts.png")
    run.log_figure(faces_figure(_faces(copy), "The first images of each category"), "figures/faces.png")
    pairs = _pairs(copy)
    if pairs:
        title = "Across parts: pixel-identical, then near duplicates down to the threshold"
        run.log_figure(twins_figure(pairs, title), "figures/twins.png")


def _duplicates_table(copy: Copy) -> pa.Table:
    """Every row of a group of equal pixels, and every near pair across parts."""
    duplicates, near = copy.duplicates, copy.near
    ids = np.array(copy.rows.table["id"].to_pylist(), dtype=object)
    names = np.array([*copy.rows.taxonomy.classes, ""], dtype=object)
    grouped = np.flatnonzero(duplicates.group >= 0)
    grouped = grouped[duplicates.sizes[duplicates.group[grouped]] > 1]
    grouped = grouped[np.argsort(duplicates.group[grouped], kind="stable")]
    rows = np.concatenate([grouped, np.column_stack([near.first, near.second]).ravel()]).astype(np.int64)
    pair_names = np.repeat([f"near-{number}" for number in range(len(near.first))], 2)
    return pa.table(
        {
            "group": [*(f"equal-{number}" for number in duplicates.group[grouped]), *pair_names.tolist()],
            "id": ids[rows].tolist(),
            "part": copy.parts[rows].tolist(),
            "label": names[copy.labels[rows]].tolist(),
            "correlation": [*([1.0] * len(grouped)), *np.repeat(near.correlation, 2).tolist()],
            "mirrored": [*([False] * len(grouped)), *np.repeat(near.mirrored, 2).tolist()],
        }
    )


def _pixels(copy: Copy, row: int) -> np.ndarray:
    return gray_pixels(copy.rows.table.slice(row, 1).to_pylist()[0])


def _faces(copy: Copy) -> dict[str, list[np.ndarray]]:
    usable = copy.scan.usable
    return {
        name: [
            _pixels(copy, row) for row in np.flatnonzero(usable & (copy.labels == position))[:FACES_A_CLASS].tolist()
        ]
        for position, name in enumerate(copy.rows.taxonomy.classes)
    }


def _pairs(copy: Copy) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Pixel-identical pairs across parts, a third of PAIRS_SHOWN, then near ones from the most to the least alike."""
    near = copy.near
    identical = _identical(copy)[: PAIRS_SHOWN // 3]
    closest = np.argsort(-near.correlation, kind="stable")
    places = np.linspace(0, len(closest) - 1, PAIRS_SHOWN - len(identical)).astype(int)
    spread = closest[np.unique(places)].tolist() if len(closest) else []
    chosen = identical + [(int(near.first[i]), int(near.second[i]), float(near.correlation[i])) for i in spread]
    return [
        (_pixels(copy, one), _pixels(copy, other), f"{_caption(copy, one)}\n{_caption(copy, other)}\n{alike:.3f}")
        for one, other, alike in chosen
    ]


def _identical(copy: Copy) -> list[tuple[int, int, float]]:
    """Pixel-identical rows of different parts, one pair a group."""
    first: dict[int, int] = {}
    pairs: dict[int, tuple[int, int, float]] = {}
    for row, group in enumerate(copy.duplicates.group.tolist()):
        if group >= 0 and copy.parts[first.setdefault(group, row)] != copy.parts[row]:
            pairs.setdefault(group, (first[group], row, 1.0))
    return list(pairs.values())


def _caption(copy: Copy, row: int) -> str:
    """Part, number or file name, and class of a row."""
    names = (*copy.rows.taxonomy.classes, "no label")
    row_id = copy.rows.table["id"][row].as_py().rsplit("/", maxsplit=1)[-1][-16:]
    return f"{copy.parts[row]} {row_id}: {names[copy.labels[row]]}"
