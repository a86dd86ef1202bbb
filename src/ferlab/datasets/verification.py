"""What ``ferlab verify`` finds: which release a copy is, and whether its faults are known of that release."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ferlab.datasets.fingerprint.compare import identify
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.findings import UNKNOWN, Fingerprint
from ferlab.datasets.fingerprint.signature import Signature

EXACT_SLACK, NEAR_SLACK = 1.02, 1.15
"""How much more than the release has still counts as known: JPEG makes a few pixels equal or unequal."""
NEAR_SPARE = 20
UNMEASURED_SLACK = 1.5
MOST_NEAR = 0.02
"""Share of a part with near duplicates in another from which a dataset of unknown pixels is said to leak."""
MOST_LISTED = 5


@dataclass(frozen=True)
class Verification:
    """A copy, what it was found to be, and everything that was counted."""

    copy: Copy
    fingerprint: Fingerprint
    known: list[str]
    alarms: list[str]

    def as_json(self) -> dict[str, Any]:
        """The stable keys of ``--json``."""
        copy, duplicates = self.copy, self.copy.duplicates
        in_conflict = np.isin(duplicates.group, duplicates.conflicts)
        return {
            "verdict": self.fingerprint.verdict,
            "release": self.fingerprint.release,
            "known": self.known,
            "alarms": self.alarms,
            "counts": copy.counts,
            "images": {
                "total": len(copy.parts),
                "usable": int(copy.scan.usable.sum()),
                "unique": duplicates.unique,
                "duplicate_groups": duplicates.groups,
                "surplus": duplicates.surplus,
                "surplus_inside": duplicates.surplus_inside,
                "largest_group": int(duplicates.sizes.max(initial=0)),
                "conflict_groups": len(duplicates.conflicts),
                "conflict_images": int(in_conflict.sum()),
                "flat": flat_images(copy),
            },
            "twins": {
                "exact": {_pair(*pair): count for pair, count in duplicates.shared.items()},
                "near": {_pair(*pair): count for pair, count in copy.near.shared(copy.parts).items()},
            },
            "sizes": dict(_sizes(copy).most_common(MOST_LISTED)),
            "unusable": [{"id": row_id, "reason": reason} for row_id, reason in unusable(copy)],
            "excluded": copy.rows.excluded,
            "policy": copy.rows.policy,
            "evidence": self.fingerprint.evidence,
        }


def verify(copy: Copy, signatures: list[Signature]) -> Verification:
    """Identify a copy and sort what was found into known facts and alarms."""
    fingerprint = identify(copy, signatures)
    release = fingerprint.signature if fingerprint.verdict != UNKNOWN else None
    known, alarms = list(fingerprint.known), [*copy.rows.problems, *fingerprint.alarms]
    for is_known, text in (
        *_unusable(copy),
        *_exact_twins(copy, release),
        *_near_twins(copy, release),
        *_shared_photos(copy),
        *_conflicts(copy, release),
        *_flat(copy, release),
        *_odd_sizes(copy, release),
    ):
        (known if is_known else alarms).append(text)
    return Verification(copy, fingerprint, known, alarms)


def unusable(copy: Copy) -> list[tuple[str, str]]:
    """Id and reason of every row that could not be read or decoded."""
    ids = copy.rows.table["id"]
    decoded = [(ids[position].as_py(), reason) for position, reason in sorted(copy.scan.unusable.items())]
    return [(item.id, item.reason) for item in copy.rows.rejected] + decoded


def flat_images(copy: Copy) -> int:
    """Images of one colour."""
    return int((copy.scan.usable & (copy.scan.contrasts == 0)).sum())


Finding = tuple[bool, str]
"""Whether it is known of the release, and the line that says it."""


def _unusable(copy: Copy) -> Iterator[Finding]:
    found = unusable(copy)
    if found:
        reasons = Counter(reason for _, reason in found).most_common(MOST_LISTED)
        listed = "; ".join(f"{count:,} x {reason}" for reason, count in reasons)
        yield False, f"{len(found):,} files or rows cannot be used ({listed}), first: {found[0][0]}"


def _exact_twins(copy: Copy, release: Signature | None) -> Iterator[Finding]:
    """More twins than the release has are a leak; fewer in a part of unknown pixels say that it is another's."""
    shared, totals = copy.duplicates.shared, Counter(copy.parts.tolist())
    for part, other in combinations(sorted(totals, key=lambda name: (totals[name], name)), 2):
        count, expected = shared.get((part, other), 0), _expected(release, part, other, "twins")
        if count:
            fine = count <= expected * EXACT_SLACK + (1 if expected else 0)
            yield fine, f"{count:,} {part} images have the same pixels as a {other} image{_compared(fine, expected)}"
        if release and _is_unmeasured(part, totals[part], release) and count < expected / EXACT_SLACK - 1:
            text = f"{part}: {count:,} images have the same pixels as a {other} image, of the release {expected:,} have"
            yield False, f"{text}: these are not its images"


def _near_twins(copy: Copy, release: Signature | None) -> Iterator[Finding]:
    totals = Counter(copy.parts.tolist())
    for (part, other), count in copy.near.shared(copy.parts).items():
        expected = _expected_near(release, part, other, totals)
        fine = count <= (expected * NEAR_SLACK + NEAR_SPARE if expected else MOST_NEAR * totals[part])
        text = f"{count:,} more {part} images are near duplicates (shifted, mirrored, re-encoded) of a {other} image"
        yield fine, text + _compared(fine, _expected(release, part, other, "near"))


def _expected_near(release: Signature | None, part: str, other: str, totals: Counter[str]) -> float:
    """Near duplicates that a part may have: the release's own, else as many as its measured parts have by size."""
    measured = _expected(release, part, other, "near")
    if release is None or measured:
        return measured
    for name, item in release.parts.items():
        for there, count in item.near.items():
            density = count / item.total / release.parts[there].total
            if name != part:
                return density * totals[part] * totals[other] * UNMEASURED_SLACK
    return 0.0


def _is_unmeasured(part: str, count: int, release: Signature) -> bool:
    """Whether it is a whole part of the release whose pixels are not known."""
    item = release.parts.get(part)
    return item is not None and item.sample is None and item.total == count


def _shared_photos(copy: Copy) -> Iterator[Finding]:
    """Faces of one photo in several parts; preparation leaves those out of training."""
    photos = copy.rows.table["group"].to_pylist()
    seen: dict[str, set[str]] = defaultdict(set)
    for photo, part in zip(photos, copy.parts.tolist(), strict=True):
        if photo is not None:
            seen[photo].add(part)
    count = sum(len(parts) > 1 for parts in seen.values())
    if count:
        yield True, f"{count:,} photos have faces in several parts; `ferlab prepare` leaves them out of training"


def _conflicts(copy: Copy, release: Signature | None) -> Iterator[Finding]:
    count, expected = len(copy.duplicates.conflicts), release.conflicts if release else 0
    if count:
        fine = count <= expected * EXACT_SLACK
        yield fine, f"{count:,} groups of equal pixels carry different labels{_compared(fine, expected)}"


def _flat(copy: Copy, release: Signature | None) -> Iterator[Finding]:
    count, expected = flat_images(copy), release.flat if release else 0
    if count:
        yield count <= expected, f"{count:,} images are of one colour{_compared(count <= expected, expected)}"


def _odd_sizes(copy: Copy, release: Signature | None) -> Iterator[Finding]:
    sizes = _sizes(copy)
    fixed = release and release.knows_pixels and all(part.size_px for part in release.parts.values() if part.sample)
    if fixed and len(sizes) > 1:
        usual, most = sizes.most_common(1)[0]
        yield False, f"{sum(sizes.values()) - most:,} images are not {usual} px"


def _expected(release: Signature | None, part: str, other: str, what: str) -> int:
    """How many of ``part`` the release has in ``other``."""
    if release is None:
        return 0
    items = [release.parts[name] for name in release.sources(part)]
    return sum(getattr(item, what).get(name, 0) for item in items for name in release.sources(other))


def _compared(fine: bool, expected: int) -> str:
    if fine and expected:
        return f"; the release has {expected:,}"
    return f", the release has {expected:,}" if expected else ""


def _sizes(copy: Copy) -> Counter[str]:
    widths_heights, counts = np.unique(copy.scan.sizes[copy.scan.usable], axis=0, return_counts=True)
    named = zip(widths_heights.tolist(), counts.tolist(), strict=True)
    return Counter({f"{width}x{height}": count for (width, height), count in named})


def _pair(part: str, other: str) -> str:
    return f"{part} in {other}"
