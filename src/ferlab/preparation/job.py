"""The Spark job: the same file for ``local[*]``, a standalone cluster, Dataproc and Dataproc serverless.

    spark-submit --py-files ferlab.whl job.py FOLDER

FOLDER is the place of a prepared dataset in the making, with its plan below ``.work``. Shards that are finished are
kept, the others are made; running it again goes on where it stopped.
"""

import sys
from pathlib import Path
from typing import Any

from ferlab.preparation.plan import WORK, Plan
from ferlab.preparation.shards import TASK_RESULT, Outcome, ShardTask, load_outcomes
from ferlab.storage import places
from ferlab.storage.files import sha256_of
from ferlab.storage.objects import is_remote


def finished(plan: Plan) -> list[Outcome]:
    """The outcomes of shards that are there, whole: by size, and by checksum where they lie on this machine."""
    sizes = places.sizes_below(plan.folder)
    begun = [name for name in plan.names if f"{WORK}/{name}.json" in sizes]
    return [
        outcome
        for outcome in load_outcomes(plan, begun)
        if outcome and sizes.get(outcome.name) == outcome.bytes and _is_whole(plan, outcome)
    ]


def _is_whole(plan: Plan, outcome: Outcome) -> bool:
    return is_remote(plan.folder) or sha256_of(Path(plan.shard(outcome.name))) == outcome.sha256


def make_shards(session: Any, plan: Plan, names: tuple[str, ...]) -> None:
    """Make shards on a Spark session, one task each; a task that fails is tried again by Spark."""
    numbers = session.range(0, len(names), 1, len(names))
    numbers.mapInArrow(ShardTask(plan, names), TASK_RESULT).collect()


def main(folder: str) -> None:
    """Carry out the plan of a folder on the Spark that started this file."""
    from pyspark.sql import SparkSession

    plan = Plan.load(folder)
    done = {outcome.name for outcome in finished(plan)}
    missing = tuple(name for name in plan.names if name not in done)
    if missing:
        make_shards(SparkSession.builder.appName("ferlab prepare").getOrCreate(), plan, missing)


if __name__ == "__main__":
    main(sys.argv[1])
