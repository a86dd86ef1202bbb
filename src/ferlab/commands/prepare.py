"""``ferlab prepare``: raw images to TFRecord shards and a manifest, tracked; at once when already there."""

from typing import Any

from ferlab.commands.dry_run import show_requests
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.prepared_data import ensure_prepared
from ferlab.config.schema import PrepareConfig


def main() -> list[Outcome]:
    """Entry point of ``ferlab prepare``."""
    return launch("prepare", PrepareConfig, run)


def run(config: PrepareConfig, context: Context) -> dict[str, Any]:
    """Prepare the dataset; the result has digest, counts, images_per_s (steady), seconds and rejected."""
    if config.compute.dry_run:
        return show_requests(config.compute, context.home, [], context.terminal)
    if not config.compute.is_local:
        context.begin_cloud(config.compute, trainings=0)
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
        "steps": prepared.steps,
        "bytes_in": prepared.bytes_in,
        "bytes_out": prepared.bytes_out,
        "shards_kept": prepared.kept,
        "rejected": manifest.total_rejected,
        "excluded": manifest.excluded,
        "twins": manifest.twins,
        "verdict": manifest.verdict,
        "alarms": list(manifest.alarms),
        "reused": prepared.reused,
        "folder": prepared.place,
    }
