"""``prepare``: raw images to a prepared dataset, at once when it is already there."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ferlab import __version__
from ferlab.datasets.audit.scan import pixel_digests, scan
from ferlab.datasets.catalog import SYNTHETIC, Family, images_of, protocol_id
from ferlab.datasets.fingerprint.compare import identify
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.findings import Fingerprint
from ferlab.datasets.fingerprint.signature import builtin_signatures
from ferlab.datasets.listing import Listing, Reading, Source
from ferlab.datasets.splits import Split, apply_split
from ferlab.errors import UserError
from ferlab.manifest import Manifest, Rejection, Shard, load_complete
from ferlab.preparation.class_weights import class_weights
from ferlab.preparation.shards import ImageSettings, ShardJob, assign_shards
from ferlab.preparation.spark import Resources, run_shard_job
from ferlab.samples import SPLITS, TEST, TRAIN, VALIDATION
from ferlab.storage.files import atomic_path, exclusive, remove_folder, sha256_of_text, writing_errors

KEY_LENGTH = 12
NOT_COMPARED = "not compared"
ALARMS_SUFFIX = "-alarms"
"""At the end of the protocol's name when a copy was prepared although it is not what its release is."""


@dataclass(frozen=True)
class Request:
    """Everything that decides what the prepared dataset will be."""

    dataset: str
    family: Family
    source: Source
    reading: Reading
    split: Split
    settings: ImageSettings
    targets: str = "majority"
    weighting: str = "inverse_frequency"
    accept_alarms: bool = False

    @cached_property
    def key(self) -> str:
        """SHA-256 over the settings and the listing of the source files (names, sizes, times), computed once."""
        parts = {
            "dataset": self.dataset,
            "family": asdict(self.family),
            "root": self.source.name,
            "reading": asdict(self.reading),
            "split": asdict(self.split),
            "settings": asdict(self.settings),
            "targets": self.targets,
            "weighting": self.weighting,
            "accept_alarms": self.accept_alarms,
            "files": self.source.signature(),
            "version": __version__,
        }
        return sha256_of_text(json.dumps(parts, sort_keys=True))

    @property
    def protocol_id(self) -> str:
        """Dataset and protocol, as recorded with every result: ``fer2013/carved``."""
        return protocol_id(self.dataset, self.split, self.targets)

    def listing(self, cores: int) -> Listing:
        """Every sample under the protocol; pixels are compared where that is cheap or asked for."""
        rows = self.family.read(self.source, self.reading)
        compare = self.family.compares_pixels or self.split.duplicates != "keep"
        digests = pixel_digests(rows.table, cores) if compare else None
        try:
            return apply_split(rows, self.split, self.family.protocols, digests)
        except UserError as error:
            message = f"{self.source.name}: {error}"
            raise UserError(message) from error

    def fingerprint(self, cores: int) -> Fingerprint:
        """Which release the copy is, where that costs little; UserError when it is another and that is not accepted."""
        if not self.family.compares_pixels or self.dataset == SYNTHETIC:
            return Fingerprint(NOT_COMPARED, "")
        family, reading = images_of(self.family, self.reading)
        rows = family.read(self.source, reading)
        found = identify(Copy(self.source, rows, scan(rows.table, cores, _silent)), builtin_signatures(family.name))
        if found.alarms and not self.accept_alarms:
            message = (
                f"{self.source.name}: this copy is not what it should be ({found.verdict}: {found.alarms[0]}). "
                "`ferlab verify` says more; dataset.accept_alarms=true prepares it all the same, marked as such."
            )
            raise UserError(message)
        return found


@dataclass(frozen=True)
class Prepared:
    """The outcome: where it is, its manifest, and what it cost (zero when it was already there)."""

    folder: Path
    manifest: Manifest
    reused: bool
    seconds: float = 0.0
    images_per_s: float = 0.0


def prepared_folder(prepared_root: Path, request: Request) -> Path:
    """Where this request's shards live below ``prepared_root``."""
    return prepared_root / f"{request.protocol_id.replace('/', '-')}-{request.key[:KEY_LENGTH]}"


def prepare(
    request: Request,
    prepared_root: Path,
    resources: Resources,
    max_rejected: float,
    config: dict[str, Any],
    on_progress: Callable[[int, int], None],
) -> Prepared:
    """Prepare ``request`` below ``prepared_root``, or find it there. Safe to call from many processes at once.

    Raises:
        UserError: unreadable or unfit source, more than ``max_rejected`` of the samples unusable, full disk.

    """
    folder = prepared_folder(prepared_root, request)
    key = request.key
    with exclusive(prepared_root / ".locks" / folder.name):
        found = load_complete(folder, key)
        if found:
            refuse_bad_share(found, max_rejected)
            return Prepared(folder, found, reused=True)
        remove_folder(folder)
        started = time.monotonic()
        try:
            cores = resources.cores or os.cpu_count() or 1
            listing, fingerprint = request.listing(cores), request.fingerprint(cores)
            weights = class_weights(_train_counts(listing), request.weighting)
            job = ShardJob(str(folder), request.settings, tuple(weights.values()), request.family.exact_px)
            results = _run_spark(job, listing, folder, resources, on_progress)
            manifest = _manifest(request, listing, fingerprint, weights, results, config)
            refuse_bad_share(manifest, max_rejected)
            _refuse_empty(manifest)
            manifest.save(folder)
        except BaseException:
            remove_folder(folder)
            raise
    return Prepared(folder, manifest, False, time.monotonic() - started, _steady_rate(results))


def _silent(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def _train_counts(listing: Listing) -> dict[str, int]:
    labels = listing.table.filter(pc.equal(listing.table["split"], TRAIN))["label"].to_numpy()
    counts = np.bincount(labels, minlength=len(listing.taxonomy))
    return dict(zip(listing.taxonomy.classes, counts.tolist(), strict=True))


def _run_spark(
    job: ShardJob,
    listing: Listing,
    folder: Path,
    resources: Resources,
    on_progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    table = assign_shards(listing.table, job.settings.size_px)
    names = sorted(set(table["shard"].to_pylist()))
    rows = folder / "listing.parquet"
    with writing_errors(folder):
        folder.mkdir(parents=True)
    with atomic_path(rows) as partial:
        # uncompressed: Spark would unpack its native snappy library into /tmp to read anything else
        pq.write_table(table, partial, row_group_size=4096, compression="none")
    scratch = folder.with_name(folder.name + ".spark")
    results = run_shard_job(rows, job, len(names), resources, scratch, on_progress)
    rows.unlink()
    written = [row["name"] for row in results]
    if sorted(written) != names:
        message = f"{folder}: Spark returned {len(written)} shards for {len(names)}; please report this."
        raise RuntimeError(message)
    return sorted(results, key=lambda row: row["name"])


def _manifest(
    request: Request,
    listing: Listing,
    fingerprint: Fingerprint,
    weights: dict[str, float],
    results: list[dict[str, Any]],
    config: dict[str, Any],
) -> Manifest:
    classes = listing.taxonomy.classes
    counts = _counts(results, classes)
    rejected = [*listing.rejected]
    for row in results:
        rejected += [Rejection(*pair) for pair in json.loads(row["rejected"])]
    settings = asdict(request.settings)
    protocol = request.protocol_id + (ALARMS_SUFFIX if fingerprint.alarms else "")
    return Manifest(
        dataset=request.dataset,
        protocol=protocol,
        taxonomy=listing.taxonomy.name,
        classes=classes,
        **settings,
        targets=request.targets,
        has_votes=listing.table["votes"].null_count == 0,
        weighting=request.weighting,
        counts=counts,
        class_weights=weights,
        shards=tuple(Shard(**{name: row[name] for name in Shard.__dataclass_fields__}) for row in results),
        rejected=tuple(sorted(rejected, key=lambda item: item.id)),
        excluded=listing.excluded,
        policy=listing.policy,
        twins=_twins(listing, results),
        verdict=fingerprint.verdict,
        alarms=tuple(fingerprint.alarms),
        digest=sha256_of_text(
            json.dumps([protocol, request.targets, settings, list(classes), [row["content"] for row in results]])
        ),
        request_key=request.key,
        code_version=__version__,
        config=config,
        source=request.source.name,
    )


def _twins(listing: Listing, results: list[dict[str, Any]]) -> dict[str, int] | None:
    if listing.table["twin"].null_count:
        return None
    totals: Counter[str] = Counter()
    for row in results:
        totals[row["split"]] += row["twins"]
    return {split: totals[split] for split in (VALIDATION, TEST)}


def _counts(results: list[dict[str, Any]], classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    totals: dict[str, Counter[int]] = {split: Counter() for split in SPLITS}
    for row in results:
        totals[row["split"]].update({int(label): count for label, count in json.loads(row["counts"]).items()})
    return {split: {name: totals[split][i] for i, name in enumerate(classes)} for split in SPLITS}


def refuse_bad_share(manifest: Manifest, max_rejected: float) -> None:
    """UserError with the reasons when more than ``max_rejected`` of the samples could not be used."""
    total = manifest.total + len(manifest.rejected)
    if len(manifest.rejected) > max_rejected * total:
        reasons = Counter(item.reason for item in manifest.rejected).most_common(5)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        message = (
            f"{manifest.source}: {len(manifest.rejected)} of {total} images cannot be used ({listed}), first: "
            f"{manifest.rejected[0].id}. Mend them, or allow a larger share with preparation.max_rejected."
        )
        raise UserError(message)


def _refuse_empty(manifest: Manifest) -> None:
    """A split without images is no dataset, whatever share of rejections is allowed."""
    for split, counts in manifest.counts.items():
        if not sum(counts.values()):
            reasons = Counter(item.reason for item in manifest.rejected).most_common(1)
            why = f" ({reasons[0][1]:,} x {reasons[0][0]})" if reasons else ""
            message = f"{manifest.source}: no {split} image is left{why}. `ferlab verify` says what this copy is."
            raise UserError(message)


def _steady_rate(results: list[dict[str, Any]]) -> float:
    """Images per second between the first and the last moment at which a shard was being written."""
    span = max(row["ended_s"] for row in results) - min(row["started_s"] for row in results)
    return sum(row["samples"] for row in results) / max(span, 1e-9)
