"""Traces: what an operation took itself, kinds of operations, a real recording, the file for a browser."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.training.trace import (
    Event,
    OperationCost,
    costliest,
    read_trace,
    recording,
    tensorflow_kind,
    trace_file,
    write_for_browser,
    xla_kind,
)

CPU, GPU = "/host:CPU", "/device:GPU:0"


def event(operation: str, start: float, duration: float, line: str = "a", plane: str = CPU) -> Event:
    return Event(plane, line, f"{operation}.1", start, duration, operation)


def test_an_operation_is_charged_for_what_the_operations_within_it_leave() -> None:
    events = [
        event("While", 0, 1000),
        event("Conv", 100, 300),
        event("Add", 150, 50),
        event("Conv", 400, 100),  # begins when the one before ends
        event("Conv", 500, 200, line="b"),  # another thread, beside the loop
        event("", 0, 9000),  # no operation
        event("Conv", 0, 9000, line="tf_data_private/7"),  # fetching a batch
    ]
    costs = costliest(events)
    assert [(cost.kind, cost.total_ms, cost.calls) for cost in costs] == [
        ("While", 0.6, 1), ("Conv", 0.55, 3), ("Add", 0.05, 1)
    ]  # fmt: skip
    assert [cost.share for cost in costs] == pytest.approx([0.5, 0.55 / 1.2, 0.05 / 1.2])
    assert [cost.kind for cost in costliest(events, most=1)] == ["While"]


def test_where_a_gpu_computes_its_kernels_count_and_not_their_launch() -> None:
    kernel = event("Conv", 10, 70, line="Stream #13(Compute)", plane=GPU)
    launched, derived = event("Conv", 0, 900), event("Conv", 10, 70, line="XLA Ops", plane=GPU)
    assert costliest([launched, kernel, derived]) == [OperationCost("Conv", 0.07, 1, 1.0)]


def test_a_trace_without_operations_has_no_costs() -> None:
    assert costliest([event("", 0, 10)]) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("while/body/_1/model/conv_1/BiasAdd:_MklNativeFusedConv2D", "FusedConv2D"),
        ("model/dense/Softmax:_MklSoftmax", "Softmax"),
        ("adam/AssignSubVariableOp_4:AssignSubVariableOp", "AssignSubVariableOp"),
        ("_send_Const/_3_0:_Send", "Send"),
        ("EagerLocalExecute: MakeIterator", ""),
        ("KernelAndDeviceFunc::Run", ""),
        ("ExecutorState::Process", ""),
        ("ParallelFor", ""),
    ],
)
def test_the_type_of_a_tensorflow_operation(name: str, kind: str) -> None:
    assert tensorflow_kind(name) == kind


@pytest.mark.parametrize(
    ("name", "kind"), [("convolution.12", "convolution"), ("fusion", "fusion"), ("dot.3.remat2", "dot"), ("", "")]
)
def test_the_kind_of_an_xla_operation(name: str, kind: str) -> None:
    assert xla_kind(name) == kind


def test_a_recording_finds_the_operation_that_takes_the_time(tf: Any, tmp_path: Path) -> None:
    @tf.function
    def work(x: Any) -> Any:
        return tf.linalg.matmul(x, x) + tf.reduce_sum(x)

    x = tf.constant(np.eye(1500, dtype=np.float32))
    work(x)
    with recording(tmp_path / "log"):
        for _ in range(4):
            work(x).numpy()
    events = read_trace(trace_file(tmp_path / "log"))
    first = costliest(events)[0]
    assert (first.kind, first.calls) == ("MatMul", 4)
    assert first.share > 0.5

    write_for_browser(events, tmp_path / "trace.json.gz")
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        rows = json.load(file)["traceEvents"]
    products = [row for row in rows if row.get("cat") == "MatMul"]
    assert sum(row["dur"] for row in products) == pytest.approx(first.total_ms * 1e3)
    threads = {row["tid"]: row["args"]["name"] for row in rows if row["name"] == "thread_name"}
    assert all(threads[row["tid"]] for row in products)


def test_no_trace_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="left no trace"):
        trace_file(tmp_path)
