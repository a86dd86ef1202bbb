"""What the stand-ins know, as one JSON file a thing: written at once, so that it outlives the server."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ferlab.storage.files import write_text

Record = dict[str, Any]


class Records:
    """Records by kind and key below ``folder``; hold ``lock`` while reading and changing what belongs together."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._folder = folder
        self._held: dict[str, dict[str, Record]] = {}
        for file in sorted(folder.glob("*/*.json")):
            self._held.setdefault(file.parent.name, {})[unquote(file.stem)] = json.loads(file.read_text())

    def get(self, kind: str, key: str) -> Record | None:
        """The record, None when there is none."""
        return self._held.get(kind, {}).get(key)

    def all(self, kind: str) -> list[Record]:
        """All records of a kind, oldest first."""
        return list(self._held.get(kind, {}).values())

    def put(self, kind: str, key: str, record: Record) -> None:
        """Keep a record, also on disk."""
        self._held.setdefault(kind, {})[key] = record
        write_text(self._file(kind, key), json.dumps(record))

    def drop(self, kind: str, key: str) -> None:
        """Forget a record."""
        self._held.get(kind, {}).pop(key, None)
        self._file(kind, key).unlink(missing_ok=True)

    def _file(self, kind: str, key: str) -> Path:
        return self._folder / kind / f"{quote(key, safe='')}.json"


def stamp(at: float | None = None) -> str:
    """A moment (seconds since 1970; None: now) as the services write it: RFC 3339 in UTC."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(duration: str) -> float:
    """Seconds of a protobuf duration in JSON: ``"3600s"``."""
    return float(duration.removesuffix("s"))


def moment_of(text: str) -> float:
    """Seconds since 1970 of what ``stamp`` or a protobuf timestamp in JSON says."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
