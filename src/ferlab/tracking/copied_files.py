"""Artifacts from one place to another, with ids replaced where ferlab and MLflow read them."""

import shutil
import tempfile
from pathlib import Path, PurePosixPath

from ferlab.parallel import in_order
from ferlab.tracking.artifacts import sizes_below
from ferlab.tracking.ids import Ids

MLMODEL = "MLmodel"
PARQUET = ".parquet"
AT_ONCE = 8
"""Files under way: a server takes longer to answer than to receive a small file."""
RUN_ID = b"ferlab.run_id"


def copy_files(source_uri: str, source_store: str, target_uri: str, target_store: str, ids: Ids) -> None:
    """Copy what is not there yet in the same size; files with ids in them are written anew."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    source = get_artifact_repository(source_uri, source_store)
    target = get_artifact_repository(target_uri, target_store)
    there = sizes_below(target)

    def copy(path: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(source.download_artifacts(path, scratch))
            if _holds_ids(path):
                file = _replaced(file, Path(scratch), target_uri, ids)
            folder = PurePosixPath(path).parent.as_posix()
            target.log_artifact(str(file), None if folder == "." else folder)

    wanted = [path for path, size in sizes_below(source).items() if there.get(path) != size or _holds_ids(path)]
    for _ in in_order(copy, ((path,) for path in wanted), AT_ONCE, AT_ONCE):
        pass


def _holds_ids(path: str) -> bool:
    return PurePosixPath(path).name == MLMODEL or path.endswith(PARQUET)


def _replaced(file: Path, scratch: Path, target_uri: str, ids: Ids) -> Path:
    """A copy of the file with the ids of copied runs and models, of the same name."""
    changed = scratch / "changed" / file.name
    changed.parent.mkdir()
    if file.name == MLMODEL:
        lines = ids.mapped(file.read_text(encoding="utf-8")).splitlines()
        placed = [f"artifact_path: {target_uri}" if line.startswith("artifact_path:") else line for line in lines]
        changed.write_text("\n".join(placed) + "\n", encoding="utf-8")
    else:
        _replace_in_parquet(file, changed, ids)
    return changed


def _replace_in_parquet(file: Path, changed: Path, ids: Ids) -> None:
    import pyarrow.parquet as pq

    metadata = pq.read_schema(file).metadata or {}
    if RUN_ID not in metadata:
        shutil.copy(file, changed)
        return
    mapped = ids.mapped(metadata[RUN_ID].decode()).encode()
    table = pq.read_table(file).replace_schema_metadata({**metadata, RUN_ID: mapped})
    pq.write_table(table, changed, compression="zstd")
