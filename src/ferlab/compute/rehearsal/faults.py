"""What shall go wrong in a rehearsal, and the refusals of a service that is down for a moment."""

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferlab.storage.files import write_text

SERVICES = ("vertex", "dataproc", "storage")
BURST = 3
"""Requests that are refused in a row."""
CALM_READS, CALM = 3, 6
"""Requests of one kind that pass before the first burst of reads, and between two bursts."""


@dataclass(frozen=True)
class Faults:
    """Faults on demand.

    ``preempt_after_s``: the i-th attempt of a training is preempted that many seconds after it has begun, also when a
    job was sent anew for it; ``restarts``: how often the service itself starts a preempted job again, None for always;
    ``lost_workers``: Spark executors killed at work; ``no_capacity``: regions without machines; ``no_quota``:
    ``"dataproc"`` and ``"vertex"`` refuse for lack of quota; ``unavailable``: requests answered 503 or 429, in bursts
    of three, shared among the three services, some of them carried out first; ``latency_ms``: added to each request;
    ``wrong_project``: the project is somebody else's.
    """

    preempt_after_s: tuple[float, ...] = ()
    lost_workers: int = 0
    no_capacity: tuple[str, ...] = ()
    no_quota: tuple[str, ...] = ()
    unavailable: int = 0
    latency_ms: int = 0
    wrong_project: bool = False
    restarts: int | None = None

    def as_json(self) -> str:
        """As text that ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Faults":
        """Read what ``as_json`` wrote."""
        told = json.loads(text).items()
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told}
        return cls(**values)


class Trouble:
    """The faults of a folder, as they are handed over and as they are used up; both outlive the server."""

    def __init__(self, folder: Path) -> None:
        self._asked, self._used = folder / "faults.json", folder / "faults-used.json"
        self._lock = threading.Lock()
        self._stamp = -1
        self._read()

    @property
    def faults(self) -> Faults:
        """What is asked for at this moment."""
        with self._lock:
            self._read()
            return self._faults

    def wants_lost_worker(self) -> bool:
        """Whether one more worker shall be lost."""
        with self._lock:
            self._read()
            return bool(self._counts.get("lost", 0) < self._faults.lost_workers)

    def count_lost_worker(self) -> None:
        """One more is lost."""
        with self._lock:
            self._count("lost")

    def refusal(self, service: str, writes: bool) -> tuple[int, bool] | None:
        """``(status, whether it is carried out first)`` of a request that is to be refused, None to let it pass."""
        with self._lock:
            self._read()
            if not self._faults.unavailable:
                return None
            kind = f"{service} {'writes' if writes else 'reads'}"
            seen = self._count(kind)
            if self._counts.get(f"{service} refused", 0) >= self._share(service):
                return None
            place = _place_in_burst(seen, writes, self._counts.get(f"{service} writes", 0))
            if place is None:
                return None
            self._count(f"{service} refused")
            return (429 if place == 1 else 503), writes and place == 0

    def _share(self, service: str) -> int:
        each, left = divmod(self._faults.unavailable, len(SERVICES))
        return each + (SERVICES.index(service) < left)

    def _count(self, name: str) -> int:
        """How often that has happened before; it happens once more."""
        before = self._counts.get(name, 0)
        self._counts[name] = before + 1
        write_text(self._used, json.dumps(self._counts))
        return before

    def _read(self) -> None:
        stamp = self._asked.stat().st_mtime_ns if self._asked.exists() else 0
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._faults = Faults.from_json(self._asked.read_text()) if stamp else Faults()
        self._counts: dict[str, Any] = json.loads(self._used.read_text()) if self._used.exists() else {}


def hand_over(folder: Path, faults: Faults) -> None:
    """Tell the server of a folder; faults that it has already keep what is used up of them."""
    asked, used = folder / "faults.json", folder / "faults-used.json"
    if asked.exists() and Faults.from_json(asked.read_text()) == faults:
        return
    used.unlink(missing_ok=True)
    write_text(asked, faults.as_json())


def _place_in_burst(seen: int, writes: bool, written: int) -> int | None:
    """0, 1 or 2 within a burst, None in calm. The first write opens a burst; reads have theirs after it."""
    if not writes and not written:
        return None
    since = seen if writes else seen - CALM_READS
    place = since % (BURST + CALM)
    return place if since >= 0 and place < BURST else None
