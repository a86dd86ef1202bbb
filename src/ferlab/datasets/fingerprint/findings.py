"""What a comparison yields: the kinds of verdict, and alarms of a kind."""

from dataclasses import dataclass, field
from typing import Any

from ferlab.datasets.fingerprint.signature import Signature

OFFICIAL, OFFICIAL_COUNTS, WITHOUT_PRIVATE = "official", "official-counts", "official-without-privatetest"
UNVERIFIED_PRIVATE, REENCODED = "official-privatetest-unverified", "jpeg-reencode"
ALTERED, AUGMENTED, EXTRA = "altered-pixels", "augmented-before-split", "extra-images"
RESPLIT, RELABELLED, SUBSET, UNKNOWN = "re-split", "relabelled", "subset", "unknown"
GRAVITY = (UNKNOWN, AUGMENTED, RESPLIT, RELABELLED, ALTERED, SUBSET, EXTRA)
"""Of several alarms the first of these names the copy."""

Alarm = tuple[str, str]
"""Kind, and the line that says it."""


@dataclass
class Fingerprint:
    """The outcome: a verdict, what is known of the release, what should not be there, and the numbers behind it."""

    verdict: str
    release: str
    known: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    signature: Signature | None = None
