"""The newest runs and the studies, straight from the database file: MLflow's import takes longer than a keystroke."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

SHOWN = 30
ID_SHOWN = 12
"""So much of a run's id is shown; ``find_run`` takes any unique beginning."""
WAIT_S = 0.2
RUNS = (
    "select run_uuid, runs.name, experiments.name, status from runs join experiments using (experiment_id) "
    "where runs.lifecycle_stage = 'active' order by start_time desc limit ?"
)
STUDIES = "select name from experiments where lifecycle_stage = 'active' order by last_update_time desc limit ?"

SWEEPS = (
    "select name, status from runs join tags using (run_uuid) "
    "where tags.key = 'ferlab.stage' and tags.value = 'sweep' and lifecycle_stage = 'active' "
    "order by start_time desc limit ?"
)


def newest_runs(home: Path) -> dict[str, str]:
    """Shortened ids of the newest runs with name, study and status; none where the store is a server or absent."""
    return {row[0][:ID_SHOWN]: f"{row[1]}, {row[2]}, {row[3]}" for row in _rows(home, RUNS)}


def sweeps(home: Path) -> dict[str, str]:
    """Names of the newest sweeps with their status; none where the store is a server or absent."""
    return dict(_rows(home, SWEEPS))


def study_names(home: Path) -> list[str]:
    """Studies that are not deleted, the last changed first; none where the store is a server or absent."""
    return [row[0] for row in _rows(home, STUDIES)]


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    if not uri.startswith("sqlite:///"):
        return []
    try:
        with closing(sqlite3.connect(f"file:{uri.removeprefix('sqlite:///')}?mode=ro", WAIT_S, uri=True)) as database:
            return database.execute(query, (SHOWN,)).fetchall()
    except sqlite3.Error:
        return []  # no database yet, or one of another MLflow
