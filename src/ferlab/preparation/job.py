"""The Spark job: the same file for ``local[*]``, a standalone cluster, Dataproc and Dataproc serverless.

    spark-submit --py-files ferlab.whl job.py FOLDER

FOLDER is the place of a prepared dataset in the making, with its plan below ``.work``. Shards that are finished are
kept, the others are made; running it again goes on where it stopped.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ferlab.preparation.plan import WORK, Plan, Task
from ferlab.preparation.shards import Outcome, carry_out_task, load_outcomes
from ferlab.storage import places
from ferlab.storage.files import sha256_of
from ferlab.storage.objects import is_remote


def finished(plan: Plan) -> list[Outcome]:
    """The outcomes of shards that are there, whole: by size, and by checksum where they lie on this machine.

    Outcomes of others are removed, also where images could not be read: they may be there now.
    """
    sizes = places.sizes_below(plan.folder)
    begun = [name for name in plan.names if f"{WORK}/{name}.json" in sizes]
    kept = []
    for name, outcome in zip(begun, load_outcomes(plan, begun), strict=True):
        if outcome and not outcome.unread and sizes.get(name) == outcome.bytes and _is_whole(plan, outcome):
            kept.append(outcome)
        else:
            places.remove(plan.outcome(name))
    return kept


def _is_whole(plan: Plan, outcome: Outcome) -> bool:
    return is_remote(plan.folder) or sha256_of(Path(plan.shard(outcome.name))) == outcome.sha256


def carry_out(spark: Any, plan: Plan, tasks: Sequence[Task]) -> None:
    """Make the shards of all tasks on a Spark context; a task that fails is tried again by Spark.

    Images never pass through Spark: it hands out tasks, and workers read and write by themselves.
    """
    spark.parallelize(tasks, len(tasks)).map(partial(carry_out_task, plan)).collect()


def main(folder: str) -> None:
    """Carry out the plan of a folder on the Spark that started this file."""
    from pyspark import SparkConf, SparkContext

    plan = Plan.load(folder)
    tasks = plan.tasks({outcome.name for outcome in finished(plan)})
    if tasks:
        carry_out(SparkContext.getOrCreate(SparkConf().setAppName("ferlab prepare")), plan, tasks)


if __name__ == "__main__":
    main(sys.argv[1])
