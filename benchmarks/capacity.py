"""What a cluster would take to prepare N images, simulated from costs that were measured here.

    python benchmarks/capacity.py [--images 1e6 1e7 1e8 1e9] [--workers 50 200 500 1000] [--seed 0]

Every shard is one task. A task waits for the driver to dispatch it, reads its images, prepares them on one core and
writes its shard; it is lost when its worker is preempted and starts again elsewhere. Costs marked "measured" come from
`make bench-preparation` and `make bench-listing` on two cores of this project's machine; those marked "assumed" are
round figures for a cluster in one region and can be given as arguments. docs/scale.md explains the table.
"""

import argparse
import heapq
from dataclasses import dataclass, fields, replace

import numpy as np

HOUR_S = 3600.0


@dataclass(frozen=True)
class Costs:
    """Seconds, bytes and rates; the comment says where each comes from."""

    image_s: float = 2.0e-3  # measured: one core, a photo of 450 px to 224 px JPEG
    client_s: float = 1.1e-3  # measured: processor time of the storage client for one object
    image_bytes_in: float = 62e3  # measured: mean size of the benchmark's photos
    task_s: float = 0.1  # measured: an empty shard on a running Spark, one core
    dispatch_s: float = 0.004  # measured: 48 tasks that do nothing in Python took 0.2 s
    listing_s: float = 7.4e-6  # measured: one file listed, signed and split on one machine
    page_s: float = 0.15  # assumed: a page of the bucket's list
    page_names: int = 1000  # the service's limit
    planning_s: float = 0.95e-6  # measured: one row laid out and written
    planning_bytes: float = 362.0  # measured: peak memory a row while listing and planning
    outcome_s: float = 0.3e-3  # assumed: one small object read, of many in parallel
    cores: int = 4  # assumed: a worker
    start_s: float = 120.0  # assumed: a cluster from nothing to the first task
    latency_s: float = 0.03  # assumed: first byte of an object
    read_ahead: int = 16  # what a task does: so many objects asked for at once
    bucket_bytes_s: float = 25e9  # assumed: a region's egress to one cluster
    bucket_reads_s: float = 5000.0  # the service's guide: reads a second that a bucket takes at first
    ramp_s: float = 1200.0  # the service's guide: they may double in this time
    preempted_h: float = 0.05  # assumed: share of workers that are preempted in an hour
    back_s: float = 300.0  # assumed: until a preempted worker is replaced


@dataclass(frozen=True)
class Outcome:
    """Seconds of the whole and of its planning, what preemption lost, memory, and what held it up most."""

    total_s: float
    planning_s: float
    lost: float
    memory_gb: float
    limit: str


def simulate(images: int, workers: int, images_per_shard: int, costs: Costs, seed: int) -> Outcome:
    """One preparation from the first listed object to the manifest."""
    tasks = max(16, -(-images // images_per_shard))
    per_task = images / tasks
    busy = min(workers * costs.cores, tasks)
    image_s = max(costs.image_s + costs.client_s, costs.latency_s / costs.read_ahead)
    on_cores_s = per_task * image_s + costs.task_s
    by_bytes_s = per_task * costs.image_bytes_in * busy / costs.bucket_bytes_s
    work_s, lost_s = run_tasks(tasks, max(on_cores_s, by_bytes_s), workers, costs, seed)
    reads_s = reading(images, images / work_s, costs)
    planning_s = images * (costs.page_s / costs.page_names + costs.listing_s + costs.planning_s)
    parts = {
        "one machine lists and plans": planning_s,
        "start of the cluster": costs.start_s,
        "requests that the bucket takes": max(reads_s - work_s, 0.0),
        "bytes that the bucket gives": max(by_bytes_s - on_cores_s, 0.0) * tasks / busy,
        "driver hands out tasks": max(tasks * costs.dispatch_s - on_cores_s * tasks / busy, 0.0),
        "images on cores": on_cores_s * tasks / busy,
    }
    return Outcome(
        planning_s + costs.start_s + max(work_s, reads_s) + tasks * costs.outcome_s,
        planning_s,
        lost_s / (tasks * on_cores_s + lost_s),
        images * costs.planning_bytes / 1e9,
        max(parts, key=parts.__getitem__),
    )


def reading(reads: int, wanted_s: float, costs: Costs) -> float:
    """Seconds for so many reads when ``wanted_s`` a second are asked for and the bucket's rate doubles with time."""
    rate, seconds = costs.bucket_reads_s, 0.0
    while rate < wanted_s and reads > rate * costs.ramp_s:
        reads -= int(rate * costs.ramp_s)
        seconds += costs.ramp_s
        rate *= 2
    return seconds + reads / min(rate, wanted_s)


def run_tasks(tasks: int, task_s: float, workers: int, costs: Costs, seed: int) -> tuple[float, float]:
    """Seconds until every task is done, and core seconds that preempted workers lost."""
    rng = np.random.default_rng(seed)
    mean_life_s = HOUR_S / costs.preempted_h if costs.preempted_h else np.inf
    dies = rng.exponential(mean_life_s, workers) if costs.preempted_h else np.full(workers, np.inf)
    free = [(0.0, worker) for worker in range(workers) for _ in range(costs.cores)]
    heapq.heapify(free)
    open_tasks, dispatched_s, end_s, lost_s = tasks, 0.0, 0.0, 0.0
    while open_tasks:
        at, worker = heapq.heappop(free)
        if at >= dies[worker] + costs.back_s:
            dies[worker] = at + rng.exponential(mean_life_s)
        if at >= dies[worker]:
            heapq.heappush(free, (dies[worker] + costs.back_s, worker))
            continue
        dispatched_s = max(dispatched_s + costs.dispatch_s, at)
        done = dispatched_s + task_s
        if done > dies[worker]:
            lost_s += max(dies[worker] - dispatched_s, 0.0)
            heapq.heappush(free, (dies[worker] + costs.back_s, worker))
            continue
        open_tasks -= 1
        end_s = max(end_s, done)
        heapq.heappush(free, (done, worker))
    return end_s, lost_s


def duration(seconds: float) -> str:
    """``3 h 05 min`` or ``4 min 10 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def main() -> None:
    """Simulate every pair of sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=float, nargs="+", default=[1e6, 1e7, 1e8, 1e9])
    parser.add_argument("--workers", type=int, nargs="+", default=[50, 200, 500, 1000])
    parser.add_argument("--images-per-shard", type=int, default=4983)
    parser.add_argument("--seed", type=int, default=0)
    for cost in fields(Costs):
        parser.add_argument(f"--{cost.name.replace('_', '-')}", type=type(cost.default), default=cost.default)
    options = parser.parse_args()
    costs = replace(Costs(), **{cost.name: getattr(options, cost.name) for cost in fields(Costs)})
    print("| images | workers | in all | of it planning | lost to preemption | planner's memory | held up by |")
    print("|---|---|---|---|---|---|---|")
    for images in options.images:
        for workers in options.workers:
            made = simulate(int(images), workers, options.images_per_shard, costs, options.seed)
            print(
                f"| {images:,.0f} | {workers:,} | {duration(made.total_s)} | {duration(made.planning_s)} "
                f"| {100 * made.lost:.1f} % | {made.memory_gb:,.1f} GB | {made.limit} |"
            )


if __name__ == "__main__":
    main()
