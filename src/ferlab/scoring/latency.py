"""How long a caller waits for the answer to one image."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferlab.models.blocks import uses_xla

WARM_UP = 10
LEAST_CALLS, MOST_CALLS = 10, 200
BOUND_S = 1.0
"""No further call after so long, once there are LEAST_CALLS."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of ``calls`` calls: median, ends of the middle half, mean, and what 95 and 99 in 100 stay below."""

    median_ms: float
    low_ms: float
    high_ms: float
    mean_ms: float
    p95_ms: float
    p99_ms: float
    calls: int


def latency_of(model: Any, clock: Callable[[], float] = time.perf_counter) -> Latency:
    """Of the compiled predict function, called with one image of noise at a time; the first calls do not count.

    From array to array in this machine's memory, the way to a GPU and back included. The function is compiled anew for
    one image, whatever batches ``model`` has seen before.
    """
    model.jit_compile = uses_xla()
    model.make_predict_function(force=True)
    image = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:]), dtype=np.uint8)
    return timed(lambda: model.predict_on_batch(image), clock)


def timed(
    call: Callable[[], Any],
    clock: Callable[[], float] = time.perf_counter,
    bound_s: float = BOUND_S,
    most_calls: int = MOST_CALLS,
) -> Latency:
    """Of ``call``, after WARM_UP calls that do not count; no further one after ``bound_s``, or ``most_calls``."""
    for _ in range(WARM_UP):
        call()
    begun, taken = clock(), list[float]()
    while len(taken) < LEAST_CALLS or (len(taken) < most_calls and clock() - begun < bound_s):
        started = clock()
        call()
        taken.append(1000 * (clock() - started))
    low, median, high, p95, p99 = map(float, np.quantile(taken, [0.25, 0.5, 0.75, 0.95, 0.99]))
    return Latency(median, low, high, float(np.mean(taken)), p95, p99, len(taken))
