"""A run's models, and the registered versions of them, in another tracking store."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ferlab.tracking.copied_files import copy_files
from ferlab.tracking.ids import ORIGIN, Ids

READY = "READY"


def copy_models(run: Any, copy_id: str, experiment: str, source: Any, target: Any, ids: Ids) -> None:
    """Copy every model of a run; one that was interrupted is gone on with."""
    from mlflow.entities import LoggedModelOutput

    attached = {one.model_id for one in target.get_run(copy_id).outputs.model_outputs}
    for output in run.outputs.model_outputs if run.outputs else []:
        model = source.get_logged_model(output.model_id)
        copy = ids.note_model(model.model_id, target)
        if copy is None:
            tags = {key: ids.mapped(value) for key, value in model.tags.items() if not key.startswith("mlflow.")}
            copy = target.create_logged_model(
                experiment, model.name, copy_id, {**tags, ORIGIN: model.model_id}, model.params, model.model_type
            )
            ids.models[model.model_id] = copy.model_id
        copy_files(model.artifact_location, source.tracking_uri, copy.artifact_location, target.tracking_uri, ids)
        if str(copy.status) != READY:
            target.finalize_logged_model(copy.model_id, READY)
        if copy.model_id not in attached:
            target.log_outputs(copy_id, [LoggedModelOutput(copy.model_id, output.step)])


def copy_versions(source: Any, target: Any, ids: Ids) -> int:
    """Register what is registered of the copied models, in order, with its card, tags and aliases; how many are new."""
    new = 0
    for registered in source.search_registered_models():
        versions = sorted(source.search_model_versions(f"name='{registered.name}'"), key=lambda one: int(one.version))
        ours = [one for one in versions if _model_of(one) in ids.models]
        if not ours:
            continue
        there = {one.tags.get(ORIGIN): one.version for one in _versions(target, registered)}
        for version in ours:
            origin = f"{version.name}/{version.version}"
            if origin not in there:
                there[origin] = _create(version, origin, target, ids)
                new += 1
        taken = target.get_registered_model(registered.name).aliases
        for alias, number in registered.aliases.items():
            if alias not in taken and f"{registered.name}/{number}" in there:
                target.set_registered_model_alias(registered.name, alias, there[f"{registered.name}/{number}"])
    return new


def _model_of(version: Any) -> str:
    """Id of the model that a version is; its source is ``models:/ID``, and older stores do not say more."""
    return str(version.model_id or version.source.rpartition("/")[2])


def _versions(target: Any, registered: Any) -> list[Any]:
    """Those of the target; the registered model is made where there is none of that name."""
    found = list(target.search_model_versions(f"name='{registered.name}'"))
    if not found and not target.search_registered_models(f"name='{registered.name}'"):
        target.create_registered_model(registered.name, dict(registered.tags), registered.description)
    return found


def _create(version: Any, origin: str, target: Any, ids: Ids) -> str:
    model_id = ids.models[_model_of(version)]
    tags = {key: ids.mapped(value) for key, value in version.tags.items()}
    with _default_store(target.tracking_uri):
        made = target.create_model_version(
            version.name,
            f"models:/{model_id}",
            ids.runs.get(version.run_id),
            {**tags, ORIGIN: origin},
            description=ids.mapped(version.description or ""),
            await_creation_for=0,  # its files are there
            model_id=model_id,
        )
    return str(made.version)


@contextlib.contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """MLflow 3.17 looks a model up in the store of the process, whatever store its client was made for."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
