"""MLflow's model registry: versions of a model that can be served, and which of them is the champion."""

import contextlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError, first_line
from ferlab.tracking.run import keras_requirements

CHAMPION = "champion"
SERVED_MODEL = Path(__file__).with_name("served_model.py")
EXAMPLES = 2


def register(
    name: str, model: Any, classes: Sequence[str], metadata: Mapping[str, Any], card: str, tags: Mapping[str, str]
) -> str:
    """A new version of the registered model ``name``, served with class names; gives its number.

    ``model`` is a Keras model of uint8 images; ``card`` becomes the description of the version. Must be called inside
    a run's block, whose artifact the version is.

    Raises:
        UserError: the registry refuses it.

    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    example = np.random.default_rng(0).integers(0, 256, (EXAMPLES, *model.input_shape[1:]), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        file, names = Path(scratch) / "model.keras", Path(scratch) / "classes.json"
        model.save(file)
        names.write_text(json.dumps(list(classes)), encoding="utf-8")
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # MLflow prints there what the command says itself
                info = mlflow.pyfunc.log_model(
                    name="served",
                    python_model=str(SERVED_MODEL),
                    artifacts={"model": str(file), "classes": str(names)},
                    registered_model_name=name,
                    signature=_signature(example, classes),
                    input_example=example,
                    pip_requirements=[*keras_requirements(), "pandas"],
                    metadata=dict(metadata),
                )
            version = str(info.registered_model_version)
            client = MlflowClient()
            client.update_model_version(name, version, card)
            for key, value in tags.items():
                client.set_model_version_tag(name, version, key, value)
        except MlflowException as error:
            message = f"model={name}: the registry refuses it ({first_line(error)})."
            raise UserError(message) from error
    return version


def champion_of(name: str) -> tuple[str, str] | None:
    """Version and model run of the champion of a registered model; None where the model has no version at all.

    Both are empty where there are versions and none is the champion. Raises UserError when the registry cannot tell.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    try:
        aliases = client.get_registered_model(name).aliases
        if CHAMPION not in aliases:
            return ("", "") if client.search_model_versions(f"name='{name}'") else None
        version = client.get_model_version(name, aliases[CHAMPION])
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        message = f"model={name}: the registry does not tell its champion ({first_line(error)})."
        raise UserError(message) from error
    return str(version.version), str(version.tags.get("ferlab.run", ""))


def declared(name: str) -> dict[str, str]:
    """The tags of a registered model; none where there is no such model. UserError when the registry cannot tell."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        return dict(MlflowClient().get_registered_model(name).tags)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        message = f"model={name}: the registry does not tell its tags ({first_line(error)})."
        raise UserError(message) from error


def declare(name: str, tags: Mapping[str, str]) -> None:
    """Set tags of a registered model."""
    from mlflow.tracking import MlflowClient

    for key, value in tags.items():
        MlflowClient().set_registered_model_tag(name, key, value)


def crown(name: str, version: str) -> None:
    """Make a version the champion: ``models:/NAME@champion``."""
    from mlflow.tracking import MlflowClient

    MlflowClient().set_registered_model_alias(name, CHAMPION, version)


def _signature(example: np.ndarray, classes: Sequence[str]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([ColSpec("string", "label"), *(ColSpec("double", one) for one in classes)]),
    )
