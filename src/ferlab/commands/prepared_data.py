"""Prepared data for a command: made when it is not there, found by its digest, brought to this machine."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from ferlab.commands.cloud_preparation import OnCluster, in_bucket
from ferlab.commands.launch import Context
from ferlab.commands.opening import open_dataset
from ferlab.commands.preparation_record import log_preparation
from ferlab.commands.terminal import Terminal
from ferlab.config.schema import PrepareConfig
from ferlab.datasets.splits import Split
from ferlab.errors import UserError
from ferlab.imaging.face import ImageSettings
from ferlab.manifest import MANIFEST_NAME, Manifest
from ferlab.preparation.prepare import Prepared, find_complete, prepare
from ferlab.preparation.request import Request
from ferlab.preparation.sealing import TooManyRejectedError
from ferlab.preparation.spark import Resources, Watch, run_on_spark
from ferlab.storage import places
from ferlab.storage.objects import is_remote
from ferlab.storage.staging import stage
from ferlab.tracking.run import Run

ORIGIN_NAME = "origin.json"
"""Beside the manifest: which run of which tracking store prepared it."""
STAGED = "staged"
"""Folder below FERLAB_HOME for prepared data that lies in a bucket."""


def ensure_prepared(config: PrepareConfig, context: Context, parent: Run | None = None) -> tuple[Prepared, str | None]:
    """The prepared dataset where it lies, and the id of the run that made it (None when another store knows it)."""
    if context.cloud:
        config = replace(config, dataset=in_bucket(config.dataset, context.cloud))
    request = _request(config, context)
    with _watched(context.terminal) as watch:
        prepared = prepare(
            request,
            context.prepared_root,
            Resources(
                config.compute.cores, config.compute.memory_gb, config.compute.spark_master, context.home / "spark"
            ),
            config.preparation.max_rejected,
            {"dataset": asdict(config.dataset), "preparation": asdict(config.preparation)},
            watch,
            OnCluster(context.cloud) if context.cloud else run_on_spark,
            lambda make: _recorded(make, f"prepare-{request.dataset}", config, context, parent),
        )
    if not prepared.reused:
        kept = f", {prepared.kept} shards kept from an earlier run" if prepared.kept else ""
        context.terminal.say(
            f"prepared {prepared.manifest.total:,} images in {prepared.seconds:.0f} s ({prepared.images_per_s:,.0f} "
            f"img/s steady, {prepared.manifest.total_rejected:,} rejected{kept}): {prepared.place}"
        )
    elif parent is None:
        context.terminal.say(f"prepared data reused: {prepared.place}")
    return prepared, _origin(prepared.place, context.store.uri)


def _recorded(
    make: Callable[[], Prepared], name: str, config: PrepareConfig, context: Context, parent: Run | None
) -> Prepared:
    """What is made now, in a run of its own that it names as its origin."""
    with context.store.run("prepare", config.study, name, parent=parent) as run:
        run.log_config({name: context.raw[name] for name in ("dataset", "preparation", "compute")})
        prepared = make()
        if not prepared.reused:  # otherwise another machine was faster
            origin = json.dumps({"store": context.store.uri, "run_id": run.id})
            places.write_bytes(places.joined(prepared.place, ORIGIN_NAME), origin.encode())
            log_preparation(run, prepared)
    return prepared


def already_prepared(config: PrepareConfig, context: Context) -> Prepared | None:
    """The prepared dataset where it lies, None when it would first have to be made; UserError without its files."""
    return find_complete(_request(config, context), context.prepared_root, config.preparation.max_rejected)


def on_this_machine(prepared: Prepared, context: Context) -> Prepared:
    """The same prepared data with its shards in a folder of this machine, brought here once when they are in a bucket.

    Raises:
        UserError: the bucket cannot be read, or a shard is damaged.

    """
    folder = context.home / STAGED / prepared.place.rpartition("/")[2]
    return Prepared(str(stage(prepared.place, prepared.manifest, folder)), prepared.manifest, prepared.reused)


def find_prepared(context: Context, digest: str) -> tuple[Path, Manifest]:
    """The prepared dataset with that digest, on this machine; UserError when it is no longer there."""
    for place in _prepared_places(context):
        with contextlib.suppress(UserError):  # a damaged neighbour is prepare's business
            manifest = Manifest.load(place)
            if manifest.digest == digest:
                return on_this_machine(Prepared(place, manifest, reused=True), context).folder, manifest
    message = (
        f"{context.prepared_root}: no prepared dataset with digest {digest[:16]}… there. Run `ferlab prepare` with the "
        "dataset settings of that run, then this command again."
    )
    raise UserError(message)


def _prepared_places(context: Context) -> Iterator[str]:
    """Every prepared dataset: those of this machine, then those in the bucket."""
    for root in {str(context.home / STAGED): None, context.prepared_root: None}:
        if is_remote(root):
            names = (name for name in places.names_below(root) if name.endswith(f"/{MANIFEST_NAME}"))
            yield from (places.joined(root, name.removesuffix(f"/{MANIFEST_NAME}")) for name in names)
        else:
            yield from (str(file.parent) for file in sorted(Path(root).glob(f"*/{MANIFEST_NAME}")))


@contextlib.contextmanager
def _watched(terminal: Terminal) -> Iterator[Watch]:
    """Preparation as the terminal shows it: bars, Spark's page, and why too many images were unusable."""

    def show_page(url: str) -> None:
        terminal.say(f"Spark is working: {url}")

    with terminal.bars() as bar:
        try:
            yield Watch(bar("looking at images", "img"), bar("preparing", "img"), show_page, terminal.warn)
        except TooManyRejectedError as error:
            rows = [[reason, f"{count:,}"] for reason, count in error.reasons.items()]
            terminal.table("images that cannot be used", ["reason", "images"], rows)
            raise


def _request(config: PrepareConfig, context: Context) -> Request:
    dataset, preparation = config.dataset, config.preparation
    opened = open_dataset(dataset, context)
    family = opened.family
    settings = ImageSettings(
        preparation.size_px or family.size_px,
        preparation.colour or family.colour,
        preparation.encoding or family.encoding,
        preparation.margin,
        preparation.align,
    )
    split = Split(
        dataset.protocol, dataset.val_fraction, dataset.split_seed, dataset.folds, dataset.fold, dataset.duplicates
    )
    return Request(
        opened.name,
        family,
        opened.source,
        opened.reading,
        split,
        settings,
        dataset.targets,
        preparation.class_weights,
        dataset.accept_alarms,
        preparation.shards,
    )


def _origin(place: str, store_uri: str) -> str | None:
    try:
        origin: Mapping[str, str] = json.loads(places.read_bytes(places.joined(place, ORIGIN_NAME)))
    except (OSError, ValueError):
        return None
    return origin.get("run_id") if origin.get("store") == store_uri else None
