"""What is asked of a preparation: everything that decides what the prepared dataset will be."""

import json
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

import cv2

import ferlab
from ferlab import __version__
from ferlab.datasets.audit.scan import Progress, Scan, pixel_digests, scan, unwatched
from ferlab.datasets.catalog import SYNTHETIC, Family, images_of, protocol_id
from ferlab.datasets.fingerprint.compare import identify
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.findings import Fingerprint
from ferlab.datasets.fingerprint.signature import builtin_signatures
from ferlab.datasets.listing import Listing, Reading, Rows, Source
from ferlab.datasets.splits import Split, apply_split
from ferlab.errors import UserError
from ferlab.imaging.face import ImageSettings
from ferlab.storage.files import sha256_of_text

NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Request:
    """Which copy, read and split how, stored how; ``shards`` a split, None for as many as its size asks for."""

    dataset: str
    family: Family
    source: Source
    reading: Reading
    split: Split
    settings: ImageSettings
    targets: str = "majority"
    weighting: str = "inverse_frequency"
    accept_alarms: bool = False
    shards: int | None = None

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
            "shards": self.shards,
            "files": self.source.signature(),
            "version": __version__,
            "code": _code_digest(),
            "opencv": cv2.__version__,
        }
        return sha256_of_text(json.dumps(parts, sort_keys=True))

    @property
    def protocol_id(self) -> str:
        """Dataset and protocol, as recorded with every result: ``fer2013/carved``."""
        return protocol_id(self.dataset, self.split, self.targets)

    def examine(self, cores: int, on_progress: Progress) -> tuple[Listing, Fingerprint]:
        """Every sample under the protocol, and which release the copy is; pixels are looked at where that is cheap.

        Raises:
            UserError: the files do not fit, cannot be split honestly, or are another release and that is not accepted.

        """
        rows = self.family.read(self.source, self.reading)
        family, reading = images_of(self.family, self.reading)
        seen: Scan | None = None
        fingerprint = Fingerprint(NOT_COMPARED, "")
        if self.family.compares_pixels and self.dataset != SYNTHETIC:
            images = rows if family is self.family else family.read(self.source, reading)
            looked = scan(images.table, cores, on_progress)
            fingerprint = identify(Copy(self.source, images, looked), builtin_signatures(family.name))
            seen = looked if images is rows else None
        self._refuse_alarms(fingerprint)
        return self._listing(rows, self._digests(rows, seen, cores, on_progress)), fingerprint

    def listing(self, cores: int) -> Listing:
        """Every sample under the protocol, without comparing the copy with its release; errors as ``examine``."""
        rows = self.family.read(self.source, self.reading)
        return self._listing(rows, self._digests(rows, None, cores, unwatched))

    def _digests(self, rows: Rows, seen: Scan | None, cores: int, on_progress: Progress) -> list[bytes | None] | None:
        """Digest of the pixels of every row, when the protocol asks for them."""
        if not self.family.compares_pixels and self.split.duplicates == "keep":
            return None
        return seen.digest_list() if seen else pixel_digests(rows.table, cores, on_progress)

    def _listing(self, rows: Rows, digests: list[bytes | None] | None) -> Listing:
        try:
            return apply_split(rows, self.split, self.family.protocols, digests)
        except UserError as error:
            message = f"{self.source.name}: {error}"
            raise UserError(message) from error

    def _refuse_alarms(self, found: Fingerprint) -> None:
        if found.alarms and not self.accept_alarms:
            message = (
                f"{self.source.name}: this copy is not what it should be ({found.verdict}: {found.alarms[0]}). "
                "`ferlab verify` says more; dataset.accept_alarms=true prepares it all the same, marked as such."
            )
            raise UserError(message)


@cache
def _code_digest() -> str:
    """SHA-256 over the code that decides what is stored: an edited ferlab does not go on with an older one's shards."""
    package = Path(ferlab.__file__).parent
    files = [package / "preparation" / "shards.py", package / "samples.py"]
    files += sorted(path for room in ("imaging", "records") for path in (package / room).glob("*.py"))
    return sha256_of_text("".join(file.read_text(encoding="utf-8") for file in files))
