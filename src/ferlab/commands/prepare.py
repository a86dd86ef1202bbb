"""``ferlab prepare``: raw images to TFRecord shards and a manifest, tracked; at once when already there."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.opening import open_dataset
from ferlab.config.schema import PrepareConfig
from ferlab.datasets.splits import Split
from ferlab.errors import UserError
from ferlab.evaluation.figures import class_counts_figure
from ferlab.manifest import MANIFEST_NAME, Manifest, load_complete
from ferlab.preparation.prepare import Prepared, Request, prepare, prepared_folder, refuse_bad_share
from ferlab.preparation.shards import ImageSettings
from ferlab.preparation.spark import Resources
from ferlab.storage.files import write_text
from ferlab.tracking.run import Run

ORIGIN_NAME = "origin.json"
"""Beside the manifest: which run of which tracking store prepared it."""


def main() -> list[Outcome]:
    """Entry point of ``ferlab prepare``."""
    return launch("prepare", PrepareConfig, run)


def run(config: PrepareConfig, context: Context) -> dict[str, Any]:
    """Prepare the dataset; the result has digest, counts, images_per_s (steady), seconds and rejected."""
    prepared, _ = ensure_prepared(config, context)
    manifest = prepared.manifest
    context.terminal.table(
        f"{manifest.protocol}, {manifest.size_px} px {manifest.colour} {manifest.encoding}",
        ["category", *manifest.counts],
        [[name, *(f"{row[name]:,}" for row in manifest.counts.values())] for name in manifest.classes],
    )
    for line in manifest.alarms:
        context.terminal.warn(line)
    if manifest.twins and any(manifest.twins.values()):
        listed = ", ".join(f"{count:,} of {split}" for split, count in manifest.twins.items())
        context.terminal.say(f"pixels also trained on: {listed}; evaluation reports without them, too")
    for reason, count in manifest.excluded.items():
        context.terminal.say(f"left out: {count:,} x {reason}")
    return {
        "digest": manifest.digest,
        "counts": manifest.counts,
        "images_per_s": prepared.images_per_s,
        "seconds": prepared.seconds,
        "rejected": len(manifest.rejected),
        "excluded": manifest.excluded,
        "twins": manifest.twins,
        "verdict": manifest.verdict,
        "alarms": list(manifest.alarms),
        "reused": prepared.reused,
        "folder": str(prepared.folder),
    }


def ensure_prepared(config: PrepareConfig, context: Context, parent: Run | None = None) -> tuple[Prepared, str | None]:
    """The prepared dataset and the id of the run that made it (None when another store knows it)."""
    request = _request(config, context)
    folder = prepared_folder(context.prepared_root, request)
    manifest = load_complete(folder, request.key)
    if manifest:
        refuse_bad_share(manifest, config.preparation.max_rejected)
        if parent is None:
            context.terminal.say(f"prepared data reused: {folder}")
        return Prepared(folder, manifest, reused=True), _origin(folder, context.store.uri)
    with context.store.run("prepare", config.study, f"prepare-{request.dataset}", parent=parent) as run:
        run.log_config({name: context.raw[name] for name in ("dataset", "preparation", "compute")})
        with context.terminal.progress("preparing") as on_progress:
            prepared = prepare(
                request,
                context.prepared_root,
                Resources(config.compute.cores, config.compute.memory_gb),
                config.preparation.max_rejected,
                {"dataset": asdict(config.dataset), "preparation": asdict(config.preparation)},
                on_progress,
            )
        _log(run, prepared)
        write_text(prepared.folder / ORIGIN_NAME, json.dumps({"store": context.store.uri, "run_id": run.id}))
    context.terminal.say(
        f"prepared {prepared.manifest.total:,} images in {prepared.seconds:.0f} s "
        f"({prepared.images_per_s:,.0f} img/s steady, {len(prepared.manifest.rejected)} rejected): {prepared.folder}"
    )
    return prepared, run.id


def find_prepared(prepared_root: Path, digest: str) -> tuple[Path, Manifest]:
    """The prepared dataset with that digest; UserError when it is no longer there."""
    for file in sorted(prepared_root.glob(f"*/{MANIFEST_NAME}")):
        with contextlib.suppress(UserError):  # a damaged neighbour is prepare's business
            manifest = Manifest.load(file.parent)
            if manifest.digest == digest:
                return file.parent, manifest
    message = (
        f"{prepared_root}: no prepared dataset with digest {digest[:16]}… there. Run `ferlab prepare` with the dataset "
        "settings of that run, then this command again."
    )
    raise UserError(message)


def _request(config: PrepareConfig, context: Context) -> Request:
    dataset, preparation = config.dataset, config.preparation
    opened = open_dataset(dataset, context)
    family = opened.family
    settings = ImageSettings(
        preparation.size_px or family.size_px,
        preparation.colour or family.colour,
        preparation.encoding or family.encoding,
        preparation.margin,
        preparation.align,
    )
    split = Split(
        dataset.protocol, dataset.val_fraction, dataset.split_seed, dataset.folds, dataset.fold, dataset.duplicates
    )
    return Request(
        opened.name,
        family,
        opened.source,
        opened.reading,
        split,
        settings,
        dataset.targets,
        preparation.class_weights,
        dataset.accept_alarms,
    )


def _origin(folder: Path, store_uri: str) -> str | None:
    try:
        origin: Mapping[str, str] = json.loads((folder / ORIGIN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return origin.get("run_id") if origin.get("store") == store_uri else None


def _log(run: Run, prepared: Prepared) -> None:
    manifest = prepared.manifest
    run.log_dataset(manifest, prepared.folder, "prepare")
    run.log_metrics(
        {
            "images": manifest.total,
            "rejected": len(manifest.rejected),
            "seconds": prepared.seconds,
            "images_per_s": prepared.images_per_s,
            "megabytes": sum(shard.bytes for shard in manifest.shards) / 1e6,
        }
    )
    run.log_file(prepared.folder / MANIFEST_NAME)
    run.log_figure(
        class_counts_figure(manifest.counts, f"{manifest.protocol}: samples per category"),
        "figures/class_counts.png",
    )
