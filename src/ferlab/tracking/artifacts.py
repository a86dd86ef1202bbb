"""The files of a run with their sizes, wherever they lie."""

from typing import Any


def artifact_sizes(run_id: str) -> dict[str, int]:
    """Bytes of every artifact by its path; files of the run's models stand below ``model/``."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    run = client.get_run(run_id)
    sizes = sizes_below(get_artifact_repository(run.info.artifact_uri))
    for output in run.outputs.model_outputs if run.outputs else []:
        model = client.get_logged_model(output.model_id)
        below = sizes_below(get_artifact_repository(model.artifact_location))
        sizes |= {f"{model.name}/{path}": size for path, size in below.items()}
    return sizes


def sizes_below(repository: Any, folder: str | None = None) -> dict[str, int]:
    """Bytes of every file in one of MLflow's artifact repositories, or in a folder of it, by its path."""
    sizes: dict[str, int] = {}
    for item in repository.list_artifacts(folder):
        sizes |= sizes_below(repository, item.path) if item.is_dir else {item.path: int(item.file_size or 0)}
    return sizes
