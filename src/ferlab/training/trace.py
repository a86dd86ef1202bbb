"""A profiler's trace of some training: recorded, read back, summed up by kind of operation, shown in a browser."""

import contextlib
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.errors import UserError

GPU_PLANE, GPU_LINE = "/device:GPU", "Stream"
"""How the profilers name a GPU, and the lines of it that hold kernels; its other lines tell of the same time again."""
TENSORFLOW_OPERATION = re.compile(r"[\w./\-]+:(?:_Mkl(?:Native)?)?_?(\w+)")
"""``path/of/the/layer:Type``; on CPUs most types have a oneDNN version of another name."""
INPUT_LINES = "tf_data"
"""Threads of TensorFlow that fetch batches: what happens there is waiting for NumPy, not computing."""
NUMBERED = re.compile(r"(?:\.\d+)+(?:\.remat\d*)?$|\.clone$")
"""What XLA appends to tell operations of one kind apart."""


@dataclass(frozen=True)
class Event:
    """Something that took time on one line (a thread, or a stream of a GPU) of one plane (all threads, or a GPU).

    Times count from the start of the trace. ``operation`` is the kind of operation that was computed, or empty.
    """

    plane: str
    line: str
    name: str
    start_us: float
    duration_us: float
    operation: str


@dataclass(frozen=True)
class OperationCost:
    """All operations of one kind: what they took together, their number, their share of all operations' time."""

    kind: str
    total_ms: float
    calls: int
    share: float


@contextlib.contextmanager
def recording(folder: Path) -> Iterator[None]:
    """Record what the backend does inside the block; the trace goes below ``folder``."""
    import keras

    if keras.config.backend() == "jax":
        import jax

        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # it would slow down what is measured
        with jax.profiler.trace(str(folder), profiler_options=options):
            yield
        return
    import tensorflow as tf

    with tf.profiler.experimental.Profile(str(folder)):
        yield


def trace_file(folder: Path) -> Path:
    """The file ``*.xplane.pb`` that ``recording`` left below ``folder``; UserError when there is none."""
    files = sorted(folder.rglob("*.xplane.pb"))
    if not files:
        message = f"{folder}: the profiler left no trace. Another profiler may be running in this process; stop it."
        raise UserError(message)
    return files[-1]


def read_trace(file: Path) -> list[Event]:
    """Events that took any time, by start."""
    import keras

    raw = _read_by_jax(file) if keras.config.backend() == "jax" else _read_by_tensorflow(file)
    return sorted((event for event in raw if event.duration_us > 0), key=lambda event: event.start_us)


def _read_by_tensorflow(file: Path) -> Iterator[Event]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    for plane in space.planes:
        names = {key: value.name for key, value in plane.stat_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                described = next(
                    (
                        stat.str_value or names.get(stat.ref_value, "")
                        for stat in event.stats
                        if names[stat.metadata_id] == "tf_op"
                    ),
                    name,
                )
                start_us = line.timestamp_ns / 1e3 + event.offset_ps / 1e6
                kind = tensorflow_kind(described)
                yield Event(plane.name, _line(line), name, start_us, event.duration_ps / 1e6, kind)


def _line(line: Any) -> str:
    return line.display_name or line.name or str(line.id)


def _read_by_jax(file: Path) -> Iterator[Event]:
    import jax

    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for number, line in enumerate(plane.lines):
            name = line.name if "/" in line.name else f"{line.name} {number}"  # several threads are just "python"
            for event in line.events:
                operation = str(dict(event.stats).get("hlo_op", ""))
                kind = "" if event.name.startswith("end: ") else xla_kind(operation)
                yield Event(plane.name, name, event.name, event.start_ns / 1e3, event.duration_ns / 1e3, kind)


def tensorflow_kind(name: str) -> str:
    """``Conv2D`` of ``model/conv/Conv2D:_MklNativeConv2D``; empty for what is no operation."""
    found = TENSORFLOW_OPERATION.fullmatch(name)
    return found[1] if found else ""


def xla_kind(operation: str) -> str:
    """``convolution`` of ``convolution.12``."""
    return NUMBERED.sub("", operation)


def costliest(events: Sequence[Event], most: int = 10) -> list[OperationCost]:
    """The ``most`` kinds of operations that took the longest, longest first; on a GPU its kernels, else the threads.

    An operation's time is what it took less the operations within it on the same line, so lines are added up: where
    operations run beside each other, all together take longer than the step.
    """
    computed = [event for event in events if event.operation and not event.line.startswith(INPUT_LINES)]
    on_gpu = [event for event in computed if event.plane.startswith(GPU_PLANE) and event.line.startswith(GPU_LINE)]
    totals: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event, own_us in _own_times(on_gpu or computed):
        totals[event.operation] += own_us
        calls[event.operation] += 1
    whole = sum(totals.values())
    ranked = sorted(totals, key=lambda kind: (-totals[kind], kind))[:most]
    return [OperationCost(kind, totals[kind] / 1e3, calls[kind], totals[kind] / whole) for kind in ranked]


def _own_times(events: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Every event with its time less that of the events directly within it."""
    lines: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        lines[event.plane, event.line].append(event)
    for line in lines.values():
        line.sort(key=lambda event: (event.start_us, -event.duration_us))
        own = [event.duration_us for event in line]
        around: list[int] = []
        for place, event in enumerate(line):
            while around and line[around[-1]].start_us + line[around[-1]].duration_us <= event.start_us:
                around.pop()
            if around:
                own[around[-1]] -= event.duration_us
            around.append(place)
        yield from zip(line, (max(0.0, time) for time in own), strict=True)


def write_for_browser(events: Sequence[Event], file: Path) -> None:
    """The trace as gzipped JSON that ui.perfetto.dev and chrome://tracing open."""
    planes = {name: number for number, name in enumerate(dict.fromkeys(event.plane for event in events))}
    lines = {key: number for number, key in enumerate(dict.fromkeys((event.plane, event.line) for event in events))}
    rows: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}} for name, number in planes.items()
    ]
    rows += [
        {"ph": "M", "name": "thread_name", "pid": planes[plane], "tid": number, "args": {"name": name}}
        for (plane, name), number in lines.items()
    ]
    for event in events:
        place = {"pid": planes[event.plane], "tid": lines[event.plane, event.line]}
        times = {"ts": event.start_us, "dur": event.duration_us}
        rows.append({"ph": "X", "name": event.name, "cat": event.operation or "other", **place, **times})
    with gzip.open(file, "wt", encoding="utf-8") as out:
        json.dump({"traceEvents": rows, "displayTimeUnit": "ms"}, out)
