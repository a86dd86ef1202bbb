"""A tracking store in a file that was moved, together with its artifacts, to another folder or machine."""

import contextlib
import sqlite3
from pathlib import Path

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's tables that hold absolute addresses."""


def copy_database(database: Path, copy: Path) -> None:
    """A consistent copy of a database that may be written to at the same time."""
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def relocate(database: Path, old_home: str, new_home: Path) -> None:
    """Let artifacts that lay below ``old_home`` be found below ``new_home``."""
    old, new = f"file://{old_home}/", f"file://{new_home}/"
    with contextlib.closing(sqlite3.connect(database)) as store, store:
        for table, column in ADDRESSES:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old), old),
            )
