"""Counts by part and class against those of a release."""

from collections.abc import Iterator

from ferlab.datasets.fingerprint.copy import UNLABELLED, Copy
from ferlab.datasets.fingerprint.findings import AUGMENTED, EXTRA, RELABELLED, RESPLIT, SUBSET, UNKNOWN, Alarm
from ferlab.datasets.fingerprint.signature import Signature

LEAST_LIKE_IT = 0.5
MOST_EXTRA = 0.01
"""Surplus up to which images were added; beyond it, a class was multiplied."""


def count_alarms(copy: Copy, signature: Signature) -> Iterator[Alarm]:
    """Too many or too few images, by part; surplus that other parts lack means that the copy was split anew."""
    compared = list(_compared(copy, signature))
    surplus = {name: sum(there.values()) - sum(expected.values()) for name, there, expected in compared}
    total, wanted = sum(sum(there.values()) for _, there, _ in compared), _total(copy, signature)
    if not signature.knows_pixels and total < LEAST_LIKE_IT * wanted:
        yield UNKNOWN, f"{total:,} images, {signature.title} has {wanted:,}: this is not that release"
        return
    for name, there, expected in compared:
        present, usual = sum(there.values()), sum(expected.values())
        more = [c for c in expected if there.get(c, 0) > expected[c] * (1 + MOST_EXTRA) + 1]
        if surplus[name] > 0 and total <= wanted:
            yield RESPLIT, f"{name}: {present:,} images, {surplus[name]:,} more than the release has there"
        elif more and surplus[name] > MOST_EXTRA * usual:
            listed = ", ".join(f"{c} {there[c]:,} of {expected[c]:,}" for c in more)
            yield AUGMENTED, f"{name}: more images than the release has ({listed}): augmented or mixed with others"
        elif surplus[name] > 0:
            yield EXTRA, f"{name}: {surplus[name]:,} images more than the release has"
        elif surplus[name] < 0:
            yield SUBSET, f"{name}: {present:,} of {usual:,} images, {-surplus[name]:,} are missing"
        elif there != expected and not signature.rows:
            moved = sum(abs(there.get(c, 0) - expected[c]) for c in expected) // 2
            yield RELABELLED, f"{name}: class counts differ from the release's by {moved:,} images"
    for name in missing_parts(copy, signature):
        if name not in signature.optional:
            yield SUBSET, f"{name}: none of its {signature.parts[name].total:,} images stand in a part of that name"


def missing_parts(copy: Copy, signature: Signature) -> list[str]:
    """Parts of the release that the copy does not have, alone or mixed with others."""
    there = {source for name in copy.counts for source in signature.sources(name)}
    return [name for name in signature.parts if name not in there]


def _compared(copy: Copy, signature: Signature) -> Iterator[tuple[str, dict[str, int], dict[str, int]]]:
    """Part, counts in the copy and counts of the release over the classes that the copy's taxonomy has."""
    classes = [name for name in copy.rows.taxonomy.classes if name in signature.classes]
    for name, counts in copy.counts.items():
        known = [signature.parts[source] for source in signature.sources(name)]
        if not known:
            continue
        if UNLABELLED in counts:
            yield name, {UNLABELLED: sum(counts.values())}, {UNLABELLED: sum(part.total for part in known)}
            continue
        expected = {c: sum(part.counts.get(c, 0) for part in known) for c in classes}
        yield name, {c: counts[c] for c in classes}, expected


def _total(copy: Copy, signature: Signature) -> int:
    """Images that the release has, in classes of the copy's taxonomy and without parts that may be absent."""
    classes = [name for name in copy.rows.taxonomy.classes if name in signature.classes]
    absent = [name for name in missing_parts(copy, signature) if name in signature.optional]
    parts = [part for name, part in signature.parts.items() if name not in absent]
    return sum(part.counts.get(c, 0) for part in parts for c in classes)
