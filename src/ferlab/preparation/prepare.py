"""``prepare``: raw images to a prepared dataset, at once when it is already there, going on where it stopped."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferlab.datasets.fingerprint.findings import Fingerprint
from ferlab.datasets.listing import Listing
from ferlab.manifest import Manifest, load_complete
from ferlab.preparation.job import finished
from ferlab.preparation.plan import WORK, Plan, Task, lay_out, write_rows
from ferlab.preparation.request import Request
from ferlab.preparation.sealing import manifest_of, refuse_unfit, rejections, write_rejections
from ferlab.preparation.shards import Outcome, load_outcomes
from ferlab.preparation.spark import Resources, Watch, run_on_spark
from ferlab.storage import places
from ferlab.storage.files import NO_SPACE_WORDS, exclusive, remove_folder
from ferlab.storage.objects import is_remote

KEY_LENGTH = 12
STEPS = ("listing", "planning", "spark start", "images", "sealing")
Carry = Callable[[Plan, Sequence[Task], Resources, Path, Watch], None]
"""How the tasks of a plan are carried out; ``run_on_spark`` does it on this machine or a cluster that it reaches."""
Around = Callable[[Callable[[], "Prepared"]], "Prepared"]
"""What is done around the making of a dataset, such as to keep a record of it: it calls what it is given."""


@dataclass(frozen=True)
class Prepared:
    """The outcome: where it is (a folder or ``gs://``), its manifest, and what it cost (nothing when it was there).

    ``steps`` maps each of STEPS to its seconds; ``images_per_s`` is the rate between the first and the last moment at
    which a shard was being made; ``bytes_in`` is the size of the source images that were read, ``kept`` the number of
    shards that an earlier, interrupted run had finished.
    """

    place: str
    manifest: Manifest
    reused: bool
    seconds: float = 0.0
    images_per_s: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)
    bytes_in: int = 0
    kept: int = 0

    @property
    def folder(self) -> Path:
        """The folder of this machine with the shards; a place in a bucket must be staged first."""
        return Path(self.place)

    @property
    def bytes_out(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.manifest.shards)


def prepared_place(prepared_root: str | Path, request: Request) -> str:
    """Where this request's shards live below ``prepared_root``."""
    name = f"{request.protocol_id.replace('/', '-')}-{request.key[:KEY_LENGTH]}"
    return places.joined(str(prepared_root), name)


def find_complete(request: Request, prepared_root: str | Path, max_rejected: float) -> Prepared | None:
    """What was prepared before, None when there is nothing whole; UserError when it holds too few usable samples."""
    place = prepared_place(prepared_root, request)
    manifest = load_complete(place, request.key)
    if manifest is None:
        return None
    refuse_unfit(manifest, place, max_rejected)
    _tidy(place)  # a kill may have come between the manifest and this
    return Prepared(place, manifest, reused=True)


def prepare(
    request: Request,
    prepared_root: str | Path,
    resources: Resources,
    max_rejected: float,
    config: dict[str, Any],
    watch: Watch,
    carry: Carry = run_on_spark,
    around: Around = lambda make: make(),
) -> Prepared:
    """Prepare ``request`` below ``prepared_root``, or find it there. Safe to call from many processes at once.

    Shards that an interrupted run had finished are kept, except after a full disk, when everything is removed. What
    ``around`` does is done before another process of this machine finds the outcome.

    Raises:
        UserError: unreadable or unfit source, more than ``max_rejected`` of the samples unusable, full disk.

    """
    place = prepared_place(prepared_root, request)
    scratch = (resources.scratch or _parent(place)) / f"{place.rpartition('/')[2]}.spark"

    def make() -> Prepared:
        try:
            return _prepare(request, place, scratch, resources, max_rejected, config, watch, carry)
        except Exception as error:
            if not is_remote(place) and any(word in str(error) for word in NO_SPACE_WORDS):
                places.remove(place)
            # another machine may have finished it in the same bucket, and tidied up
            found = find_complete(request, prepared_root, max_rejected) if is_remote(place) else None
            if found:
                return found
            raise
        finally:
            remove_folder(scratch)

    with exclusive(scratch.parent / ".locks" / scratch.name):
        return find_complete(request, prepared_root, max_rejected) or around(make)


def _prepare(
    request: Request,
    place: str,
    scratch: Path,
    resources: Resources,
    max_rejected: float,
    config: dict[str, Any],
    watch: Watch,
    carry: Carry,
) -> Prepared:
    clock = _Clock()
    with clock.step("listing"):
        listing, fingerprint = request.examine(resources.cores or os.cpu_count() or 1, watch.on_examined)
    with clock.step("planning"):
        plan, kept = _plan(request, listing, place)
    tasks = plan.tasks(kept)
    if tasks:
        with clock.step("images"):
            carry(plan, tasks, resources, scratch, watch)
    clock.split("images", "spark start", watch.started_s)
    with clock.step("sealing"):
        outcomes = _outcomes(plan)
        manifest = _seal(request, listing, fingerprint, outcomes, place, max_rejected, config)
    made = [outcome for outcome in outcomes if outcome.name not in kept]
    return Prepared(
        place,
        manifest,
        reused=False,
        seconds=clock.total,
        images_per_s=_steady_rate(made),
        steps=clock.seconds,
        bytes_in=sum(outcome.bytes_in for outcome in made),
        kept=len(kept),
    )


def _plan(request: Request, listing: Listing, place: str) -> tuple[Plan, set[str]]:
    """The plan, and the names of shards that are finished; the rows of the others are written down."""
    layout = lay_out(listing.table, request.settings, request.shards)
    plan = Plan(place, request.settings, layout.names, layout.sizes, request.family.exact_px)
    kept = {outcome.name for outcome in finished(plan)}
    plan.save()
    write_rows(plan, ((name, rows) for name, rows in layout.rows(listing.table) if name not in kept))
    return plan, kept


def _outcomes(plan: Plan) -> list[Outcome]:
    found = [outcome for outcome in load_outcomes(plan, plan.names) if outcome]
    if len(found) < len(plan.names):
        message = f"{plan.folder}: Spark made {len(found)} shards of {len(plan.names)}; please report this."
        raise RuntimeError(message)
    return found


def _seal(
    request: Request,
    listing: Listing,
    fingerprint: Fingerprint,
    outcomes: list[Outcome],
    place: str,
    max_rejected: float,
    config: dict[str, Any],
) -> Manifest:
    rejected = rejections(listing, outcomes)
    write_rejections(place, rejected)
    manifest = manifest_of(request, listing, fingerprint, outcomes, rejected, config)
    refuse_unfit(manifest, place, max_rejected)
    manifest.save(place)
    _tidy(place)
    return manifest


def _tidy(place: str) -> None:
    """Remove what only the making needed, and what workers that were killed left."""
    names = places.names_below(place)
    for name in names:
        if ".tfrecord.partial-" in name:
            places.remove(places.joined(place, name))
    if any(name.startswith(f"{WORK}/") for name in names):
        places.remove(places.joined(place, WORK))


def _parent(place: str) -> Path:
    """The folder above what is prepared; of the machine's temporary files when that is a bucket."""
    return Path(tempfile.gettempdir()) if is_remote(place) else Path(place).parent


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.seconds = dict.fromkeys(STEPS, 0.0)

    @property
    def total(self) -> float:
        return time.monotonic() - self._began

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    def split(self, name: str, first: str, seconds: float) -> None:
        """Take ``seconds`` at the beginning of a step out of it and call them ``first``."""
        self.seconds[first] = min(seconds, self.seconds[name])
        self.seconds[name] -= self.seconds[first]


def _steady_rate(made: list[Outcome]) -> float:
    """Images per second between the first and the last moment at which a shard was being made."""
    if not made:
        return 0.0
    span = max(outcome.ended_s for outcome in made) - min(outcome.started_s for outcome in made)
    return sum(outcome.samples for outcome in made) / max(span, 1e-9)
