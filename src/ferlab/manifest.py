"""The manifest contract: what a prepared dataset is made of, beside its shards as ``manifest.json``."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.samples import TEST
from ferlab.sealed import Opening, SealedSplitError
from ferlab.storage import places

MANIFEST_NAME = "manifest.json"
REJECTED_NAME = "rejected.parquet"
"""Beside the manifest: columns ``id`` and ``reason`` of every sample that was set aside."""
SCHEMA_VERSION = 3
ENCODINGS = ("png", "jpeg", "raw", "float32")
COLOURS = ("gray", "rgb")
WEIGHTINGS = ("inverse_frequency", "effective_number", "capped", "none")
TARGETS = ("majority", "probability", "cross_entropy", "multi_target")
"""What is trained on: the label, or the annotators' votes (drawn from, as a distribution, or all that are frequent)."""


@dataclass(frozen=True)
class Shard:
    """One TFRecord file: its split, number of samples, size in bytes and SHA-256."""

    name: str
    split: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Rejection:
    """A sample that was set aside, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """A prepared dataset.

    ``counts`` maps split to class name to number of samples; ``class_weights`` maps class name to the weight of a
    training sample of it (mean 1 over the training samples, by the scheme ``weighting``); ``has_votes``: every record
    carries the annotators' votes; ``excluded`` counts, by reason, what the protocol leaves out, ``policy`` says what
    was decided in words; ``rejected`` counts by reason what could not be used (``rejected.parquet`` names each);
    ``twins`` is the number of evaluation samples of each split whose pixels were also trained on,
    None where pixels were not compared; ``verdict`` says which release the copy is, ``alarms`` what is wrong with it
    and was accepted; ``digest`` is a SHA-256 over every sample's id, split, label, stored picture, votes, box and
    landmarks, over the protocol, the targets and the image settings; ``request_key`` identifies the request that made
    it (settings and listing), cheap to compute before any image is read.
    """

    dataset: str
    protocol: str
    taxonomy: str
    classes: tuple[str, ...]
    size_px: int
    colour: str
    encoding: str
    margin: float
    align: bool
    targets: str
    has_votes: bool
    weighting: str
    counts: dict[str, dict[str, int]]
    class_weights: dict[str, float]
    shards: tuple[Shard, ...]
    rejected: dict[str, int]
    excluded: dict[str, int]
    policy: dict[str, str]
    twins: dict[str, int] | None
    verdict: str
    alarms: tuple[str, ...]
    digest: str
    request_key: str
    code_version: str
    config: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def channels(self) -> int:
        """1 for gray, 3 for rgb."""
        return 1 if self.colour == "gray" else 3

    @property
    def total(self) -> int:
        """Number of samples over all splits."""
        return sum(shard.samples for shard in self.shards)

    @property
    def total_rejected(self) -> int:
        """Number of samples that could not be used."""
        return sum(self.rejected.values())

    def split_shards(self, split: str, opening: Opening | None = None) -> tuple[Shard, ...]:
        """Shards of one split, in order; those of the test split only for an ``opening``.

        Raises:
            SealedSplitError: the test split, without an ``opening``.

        """
        if split == TEST and opening is None:
            message = f"{self.protocol}: the test split is sealed. `ferlab evaluate` opens it, and counts that."
            raise SealedSplitError(message)
        return tuple(shard for shard in self.shards if shard.split == split)

    def save(self, place: str | Path) -> None:
        """Write ``manifest.json`` atomically: the folder or bucket prefix counts as prepared from this moment."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        places.write_bytes(places.joined(str(place), MANIFEST_NAME), text.encode())

    @classmethod
    def load(cls, place: str | Path) -> "Manifest":
        """Read the manifest of a prepared dataset in a folder or below a ``gs://`` prefix.

        Raises:
            UserError: there is none, it is damaged, or another schema version wrote it.

        """
        path = places.joined(str(place), MANIFEST_NAME)
        try:
            data = json.loads(places.read_bytes(path).decode())
            version = data["schema_version"]
        except FileNotFoundError as error:
            message = f"{place}: no {MANIFEST_NAME} there. Run `ferlab prepare` for this dataset first."
            raise UserError(message) from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _unreadable(path, repr(error)) from error
        if version != SCHEMA_VERSION:
            raise _unreadable(path, f"schema version {version}, this ferlab reads {SCHEMA_VERSION}")
        try:
            data["shards"] = tuple(Shard(**shard) for shard in data["shards"])
            data["classes"] = tuple(data["classes"])
            data["alarms"] = tuple(data["alarms"])
            return cls(**data)
        except (KeyError, TypeError) as error:
            raise _unreadable(path, repr(error)) from error


def _unreadable(path: str, reason: str) -> UserError:
    return UserError(f"{path}: cannot be read ({reason}). Remove the folder and run `ferlab prepare` again.")


def load_complete(place: str | Path, request_key: str) -> Manifest | None:
    """The manifest when this request is prepared there and every shard is there in full size."""
    try:
        manifest = Manifest.load(place)
    except UserError:
        return None
    if manifest.request_key != request_key:
        return None
    sizes = places.sizes_below(str(place))
    return manifest if all(sizes.get(shard.name) == shard.bytes for shard in manifest.shards) else None
