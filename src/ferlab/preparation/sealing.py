"""The end of a preparation: what the shards hold is counted, judged and written into the manifest."""

import json
from collections import Counter
from dataclasses import asdict
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ferlab import __version__
from ferlab.datasets.fingerprint.findings import Fingerprint
from ferlab.datasets.listing import Listing
from ferlab.errors import UserError
from ferlab.manifest import REJECTED_NAME, Manifest, Rejection, Shard
from ferlab.preparation.class_weights import class_weights
from ferlab.preparation.request import Request
from ferlab.preparation.shards import CONTENT_BITS, Outcome
from ferlab.samples import SPLITS, TEST, TRAIN, VALIDATION
from ferlab.storage import places
from ferlab.storage.files import sha256_of_text

ALARMS_SUFFIX = "-alarms"
"""At the end of the protocol's name when a copy was prepared although it is not what its release is."""


class TooManyRejectedError(UserError):
    """More of the samples are unusable than allowed; ``reasons`` counts them, the most frequent first."""

    def __init__(self, message: str, reasons: dict[str, int]) -> None:
        super().__init__(message)
        self.reasons = reasons


def rejections(listing: Listing, outcomes: list[Outcome]) -> list[Rejection]:
    """Every sample that could not be used, by id."""
    found = [*listing.rejected, *(Rejection(*pair) for outcome in outcomes for pair in outcome.rejected)]
    return sorted(found, key=lambda item: item.id)


def write_rejections(place: str, rejected: list[Rejection]) -> None:
    """Write ``rejected.parquet`` with the columns ``id`` and ``reason``."""
    columns = {"id": [item.id for item in rejected], "reason": [item.reason for item in rejected]}
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=pa.schema([("id", pa.string()), ("reason", pa.string())])), buffer)
    places.write_bytes(places.joined(place, REJECTED_NAME), buffer.getvalue())


def manifest_of(
    request: Request,
    listing: Listing,
    fingerprint: Fingerprint,
    outcomes: list[Outcome],
    rejected: list[Rejection],
    config: dict[str, Any],
) -> Manifest:
    """The manifest of finished shards; class weights follow from what is in them."""
    classes = listing.taxonomy.classes
    counts = _counts(outcomes, classes)
    settings = asdict(request.settings)
    protocol = request.protocol_id + (ALARMS_SUFFIX if fingerprint.alarms else "")
    content = sum(outcome.content for outcome in outcomes) % 2**CONTENT_BITS
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
        class_weights=class_weights(counts[TRAIN], request.weighting),
        shards=tuple(Shard(item.name, item.split, item.samples, item.bytes, item.sha256) for item in outcomes),
        rejected=dict(Counter(item.reason for item in rejected).most_common()),
        excluded=listing.excluded,
        policy=listing.policy,
        twins=_twins(listing, outcomes),
        verdict=fingerprint.verdict,
        alarms=tuple(fingerprint.alarms),
        digest=sha256_of_text(json.dumps([protocol, request.targets, settings, list(classes), f"{content:x}"])),
        request_key=request.key,
        code_version=__version__,
        config=config,
        source=request.source.name,
    )


def refuse_unfit(manifest: Manifest, place: str, max_rejected: float) -> None:
    """Refuse data of which too much could not be used, or a split of which nothing is left.

    Raises:
        TooManyRejectedError: more than ``max_rejected`` (a share) of the samples are unusable.
        UserError: a split is empty.

    """
    count, total = manifest.total_rejected, manifest.total + manifest.total_rejected
    if count > max_rejected * total:
        message = (
            f"{manifest.source}: {count:,} of {total:,} images cannot be used, more than preparation.max_rejected="
            f"{max_rejected:g} allows. Each is named in {places.joined(place, REJECTED_NAME)}; mend them, or allow a "
            "larger share: what is finished is kept."
        )
        raise TooManyRejectedError(message, manifest.rejected)
    for split, counts in manifest.counts.items():
        if not sum(counts.values()):
            why = next((f" ({number:,} x {reason})" for reason, number in manifest.rejected.items()), "")
            message = f"{manifest.source}: no {split} image is left{why}. `ferlab verify` says what this copy is."
            raise UserError(message)


def _twins(listing: Listing, outcomes: list[Outcome]) -> dict[str, int] | None:
    if listing.table["twin"].null_count:
        return None
    totals: Counter[str] = Counter()
    for outcome in outcomes:
        totals[outcome.split] += outcome.twins
    return {split: totals[split] for split in (VALIDATION, TEST)}


def _counts(outcomes: list[Outcome], classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    totals: dict[str, Counter[int]] = {split: Counter() for split in SPLITS}
    for outcome in outcomes:
        totals[outcome.split].update(outcome.counts)
    return {split: {name: totals[split][i] for i, name in enumerate(classes)} for split in SPLITS}
