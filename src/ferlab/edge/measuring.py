"""Speed and memory of an exported file, measured in a process that runs nothing else."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ferlab.edge.runtimes import open_model
from ferlab.errors import UserError
from ferlab.scoring.latency import timed

BATCH = 32
BOUND_S, MOST_CALLS = 3.0, 1000
STATUS = Path("/proc/self/status")
LONGEST_S = 900.0
"""Of one measurement."""


@dataclass(frozen=True)
class Measured:
    """A file on ``threads`` threads, warm: milliseconds of one image (percentiles), images/s one by one and by 32.

    ``peak_mb``: the most memory (10^6 bytes) that the whole process held, its libraries included.
    """

    threads: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_s: float
    images_per_s_batch32: float
    peak_mb: float
    calls: int


def measure(file: Path, threads: int) -> Measured:
    """Measure ``file`` in a new process, on the processor.

    Raises:
        UserError: it cannot be opened, takes longer than ``LONGEST_S``, or the process ends before it is measured.

    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "ferlab.edge.measuring", str(file), str(threads)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        message = f"{file.name}: cannot be measured (not done after {LONGEST_S:,g} s)."
        raise UserError(message) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        message = f"{file.name}: cannot be measured ({said[:200]})."
        raise UserError(message)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measured_here(file: Path, threads: int) -> Measured:
    """Measure ``file`` in this process, with images of noise."""
    runtime = open_model(file, threads)
    shape = (BATCH, *runtime.description.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    one = timed(lambda: runtime.probabilities(images[:1]), bound_s=BOUND_S, most_calls=MOST_CALLS)
    many = timed(lambda: runtime.probabilities(images), bound_s=BOUND_S, most_calls=MOST_CALLS)
    rates = 1000 / one.mean_ms, 1000 * BATCH / many.mean_ms
    return Measured(threads, one.median_ms, one.p95_ms, one.p99_ms, *rates, peak_mb(), one.calls)


def peak_mb() -> float:
    """The most memory that this process held, 10^6 bytes."""
    try:
        # what getrusage tells on Linux has the memory of the process in it that started this one
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    print(json.dumps(asdict(measured_here(Path(sys.argv[1]), int(sys.argv[2])))))
