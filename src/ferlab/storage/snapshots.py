"""Files kept at a place under the digest of their content, with an index that is written last.

Whoever restores gets all files of one moment. What did not change since the last snapshot is not sent again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ferlab.parallel import in_order
from ferlab.storage import places
from ferlab.storage.files import sha256_of
from ferlab.storage.objects import GoneError
from ferlab.storage.places import joined

Item = TypeVar("Item")

INDEX, CONTENT = "index.json", "content"
AT_ONCE = 16


@dataclass
class Snapshots:
    """The snapshots at a place (folder or ``gs://``); the newest complete one counts."""

    place: str
    _known: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def save(self, files: Mapping[str, Path]) -> None:
        """Keep files under names relative to whatever they are restored to; what only older snapshots need goes."""
        digests = {name: self._digest(file) for name, file in files.items()}
        there = places.sizes_below(joined(self.place, CONTENT))
        missing = {digest: files[name] for name, digest in digests.items() if digest not in there}
        _each(self._send, missing)
        places.write_bytes(joined(self.place, INDEX), json.dumps(digests, indent=1).encode())
        for digest in set(there) - set(digests.values()):
            places.remove(joined(self.place, CONTENT, digest))

    def restore(self, folder: Path) -> bool:
        """Bring the newest snapshot into a folder; False when there is none.

        Raises:
            GoneError: a file of it is missing or damaged, or the bucket is.

        """
        try:
            digests: dict[str, str] = json.loads(places.read_bytes(joined(self.place, INDEX)))
        except FileNotFoundError:
            return False
        _each(lambda name, digest: self._bring(digest, folder / name), digests)
        return True

    def _digest(self, file: Path) -> str:
        state = file.stat()
        key = (str(file), state.st_size, state.st_mtime_ns)
        if key not in self._known:
            self._known[key] = sha256_of(file)
        return self._known[key]

    def _send(self, digest: str, file: Path) -> None:
        places.copy(file, joined(self.place, CONTENT, digest))

    def _bring(self, digest: str, file: Path) -> None:
        source = joined(self.place, CONTENT, digest)
        try:
            places.fetch(source, file)
        except FileNotFoundError as error:
            message = f"{source}: a file of this snapshot is missing."
            raise GoneError(message) from error
        if sha256_of(file) != digest:
            message = f"{source}: a file of this snapshot is damaged."
            raise GoneError(message)


def _each(work: Callable[[str, Item], None], items: Mapping[str, Item]) -> None:
    for _ in in_order(work, items.items(), AT_ONCE, AT_ONCE):
        pass
