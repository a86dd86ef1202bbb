"""What this FERLAB_HOME has asked of the cloud and not yet seen the end of: one file for each piece of work.

It is written before anything is asked for, so that whatever a killed command leaves behind can be found.
"""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ferlab.storage.files import write_text

FOLDER = "cloud"
CLUSTER, BATCH, TRAINING = "cluster", "batch", "training"
OPEN, HOME, GONE = "open", "home", "gone"
"""States of an entry: under way or not yet looked at; its run is in the store; its resource no longer exists."""


@dataclass(frozen=True)
class Entry:
    """A piece of work in the cloud.

    ``resource`` is what the service calls it, empty until it has answered; ``folder`` its place in the bucket;
    ``about`` what the command wants to know when it brings it home.
    """

    job: str
    kind: str
    target: str
    project: str
    region: str
    folder: str
    machines: str
    began_s: float = field(default_factory=time.time)
    ended_s: float = 0.0
    resource: str = ""
    state: str = OPEN
    machine_count: int = 1
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """The entries below a FERLAB_HOME."""

    home: Path

    def write(self, entry: Entry) -> Entry:
        """Keep an entry, or its new state."""
        write_text(self._file(entry.job), json.dumps(asdict(entry), indent=1))
        return entry

    def change(self, entry: Entry, **values: Any) -> Entry:
        """The entry with other values, kept."""
        return self.write(replace(entry, **values))

    def entries(self) -> list[Entry]:
        """All of them, oldest first; one that is damaged is passed over."""
        found = []
        for file in sorted((self.home / FOLDER).glob("*.json")):
            try:
                found.append(Entry(**json.loads(file.read_text(encoding="utf-8"))))
            except (ValueError, TypeError):
                continue
        return sorted(found, key=lambda entry: entry.began_s)

    def newest(self, entry: Entry) -> Entry:
        """An entry as it was kept last: it may have been sent to another region since."""
        return next((one for one in self.entries() if one.job == entry.job), entry)

    def _file(self, job: str) -> Path:
        return self.home / FOLDER / f"{job}.json"
