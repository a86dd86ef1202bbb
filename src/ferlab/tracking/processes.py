"""Who runs where: so that a run whose process was killed outright can be told from one that still works."""

import os
import socket

import psutil

START_TOLERANCE_S = 2.0
HOST = "ferlab.host"


def identity() -> dict[str, str]:
    """Tags that identify this process on its host."""
    return {
        HOST: socket.gethostname(),
        "ferlab.pid": str(os.getpid()),
        "ferlab.process_started": f"{psutil.Process().create_time():.1f}",
    }


def is_alive(pid: str, process_started: str) -> bool:
    """Whether that very process (not a later one with its number) still runs on this host."""
    try:
        process = psutil.Process(int(pid))
        running = process.status() != psutil.STATUS_ZOMBIE
        return running and abs(process.create_time() - float(process_started)) < START_TOLERANCE_S
    except (psutil.Error, ValueError):
        return False
