"""A copy against the signature of a release: what it is, what is known of that release, what should not be there.

Images whose pixels are the release's are compared one by one with all of its rows, without tolerance; images with other
pixels by how a sample of the release's pictures looks in the copy.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ferlab.datasets.fingerprint.copy import UNLABELLED, Copy
from ferlab.datasets.fingerprint.counts import count_alarms, missing_parts
from ferlab.datasets.fingerprint.findings import (
    ALTERED,
    GRAVITY,
    OFFICIAL,
    OFFICIAL_COUNTS,
    REENCODED,
    UNKNOWN,
    UNVERIFIED_PRIVATE,
    WITHOUT_PRIVATE,
    Alarm,
    Fingerprint,
)
from ferlab.datasets.fingerprint.looks import label_alarms, look_alarms, unlike_the_rest
from ferlab.datasets.fingerprint.match import Matches, match
from ferlab.datasets.fingerprint.rows import OTHER, exact_shares, row_alarms
from ferlab.datasets.fingerprint.signature import Signature

LEAST_FOUND = 0.5


def identify(copy: Copy, signatures: list[Signature]) -> Fingerprint:
    """Compare with the signatures of the copy's layout, else with all, and keep the one that fits best."""
    of_layout = [signature for signature in signatures if signature.name == copy.source.layout]
    outcomes = [compare(copy, signature) for signature in of_layout or signatures]
    if not outcomes:
        return Fingerprint(UNKNOWN, "", ["no signature of a release to compare with"])
    return min(outcomes, key=lambda outcome: (outcome.verdict == UNKNOWN, len(outcome.alarms)))


def compare(copy: Copy, signature: Signature) -> Fingerprint:
    """What ``copy`` is when it is meant to be the release of ``signature``."""
    result = Fingerprint(UNKNOWN, signature.title, signature=signature)
    candidates = {name: match(signature, name, copy) for name in signature.parts}
    matches = {name: found for name, found in candidates.items() if found is not None}
    result.evidence["found"] = {name: float(found.found.mean()) for name, found in matches.items()}
    alarms = list(_alarms(copy, signature, matches, result))
    result.alarms = [text for _, text in alarms]
    kinds = {kind for kind, _ in alarms}
    result.verdict = next((kind for kind in GRAVITY if kind in kinds), None) or _clean_verdict(copy, signature)
    if result.verdict != UNKNOWN:
        result.known = list(_known(copy, signature, reencoded=ALTERED not in kinds))
    return result


def _alarms(copy: Copy, signature: Signature, matches: dict[str, Matches], result: Fingerprint) -> Iterator[Alarm]:
    best = max(result.evidence["found"].values(), default=1.0)
    # a small subset holds few of the release's pictures, but hardly any others
    if best < LEAST_FOUND and max(exact_shares(copy, signature).values(), default=0.0) < LEAST_FOUND:
        yield UNKNOWN, f"only {best:.1%} of the known images of {signature.title} are there: it is another dataset"
        return
    yield from count_alarms(copy, signature)
    if signature.rows:
        yield from row_alarms(copy, signature, result)
    changed = {name: found for name, found in matches.items() if _has_other_pixels(name, copy, signature)}
    for name, found in changed.items():
        yield from look_alarms(name, found, copy, signature, result)
    yield from label_alarms(changed, copy, signature, result)
    yield from unlike_the_rest(copy, signature)


def _has_other_pixels(name: str, copy: Copy, signature: Signature) -> bool:
    """Whether a part of the release must be judged by its looks: no rows known, or hardly any pixels are the same."""
    if signature.rows is None:
        return True
    shares = exact_shares(copy, signature)
    of_mixture = [part for part in copy.counts if name in signature.mixtures.get(part, ())]
    mixed = exact_shares(copy, signature, tuple(of_mixture)).values()
    here = shares.get(name, max(mixed, default=None))
    return max(shares.values(), default=0.0) <= OTHER if here is None else here <= OTHER


def _clean_verdict(copy: Copy, signature: Signature) -> str:
    if not signature.knows_pixels:
        return OFFICIAL_COUNTS
    if signature.rows:
        shares = exact_shares(copy, signature, tuple(copy.counts))
        if max(shares.values(), default=0.0) <= OTHER:
            return REENCODED
    if [name for name in missing_parts(copy, signature) if name in signature.optional]:
        return WITHOUT_PRIVATE
    unmeasured = [name for name, part in signature.parts.items() if not part.sample]
    return UNVERIFIED_PRIVATE if unmeasured and not _is_published(copy, signature) else OFFICIAL


def _known(copy: Copy, signature: Signature, reencoded: bool) -> Iterator[str]:
    """Facts of this copy that are no reason to distrust it."""
    published = _is_published(copy, signature)
    if published:
        yield "the published file, by its md5"
    for name in missing_parts(copy, signature):
        if name in signature.optional:
            yield f"{name} ({signature.parts[name].total:,} images) is not there"
    for part, sources in signature.mixtures.items():
        if part in copy.counts:
            yield f"{part} holds {' and '.join(sources)}, which cannot be told apart: file names or Usage are lost"
    for part, counts in copy.counts.items():
        if UNLABELLED in counts:
            yield f"{part}: {counts[UNLABELLED]:,} images have no label"
    shares = exact_shares(copy, signature, tuple(copy.counts)) if signature.rows else {}
    if reencoded and shares and max(shares.values()) <= OTHER:
        yield "pixels differ a little, as JPEG makes them; brightness, contrast and sharpness are those of the release"
    for name, item in signature.parts.items():
        if signature.knows_pixels and not item.sample and name in copy.counts and not published:
            yield f"{name}: its counts are checked, and that it looks like the rest; ferlab does not know its pixels"
    if not signature.knows_pixels and not list(count_alarms(copy, signature)):
        yield "counts agree with the release; ferlab knows no pixels of it"


def _is_published(copy: Copy, signature: Signature) -> bool:
    """Whether a file of the copy is the published one, by size and md5, whatever its name."""
    for path in copy.source.entries:
        for published in signature.files.values():
            if path.is_file() and path.stat().st_size == published["bytes"]:
                return _md5(path) == published["md5"]
    return False


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
