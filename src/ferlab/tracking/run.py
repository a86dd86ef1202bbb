"""One open MLflow run: what can be written on it."""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.manifest import Manifest
from ferlab.storage.objects import is_remote

DIGEST_LENGTH = 32
MODEL_NAME = "model"
MAX_PARAM = 6000
PARAMS_PER_CALL = 100
ATTEMPTS = 5


@dataclass(frozen=True)
class Run:
    """An active run; all writing goes to it, whatever other runs are open."""

    id: str
    name: str

    def log_config(self, config: Mapping[str, Any]) -> None:
        """The composed config as ``config.yaml`` and, flattened, as params (those not there yet)."""
        import mlflow
        import yaml
        from mlflow.tracking import MlflowClient

        self.log_text(yaml.safe_dump(dict(config), sort_keys=False), "config.yaml")
        present = MlflowClient().get_run(self.id).data.params
        fresh = [(key, value) for key, value in flatten(config).items() if key not in present]
        for start in range(0, len(fresh), PARAMS_PER_CALL):
            mlflow.log_params(dict(fresh[start : start + PARAMS_PER_CALL]), run_id=self.id)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers; ``step`` is the epoch over all phases, from 1."""
        import mlflow

        mlflow.log_metrics({key: float(value) for key, value in values.items()}, step=step, run_id=self.id)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Text that can be searched for."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient()
        for key, value in tags.items():
            client.set_tag(self.id, key, value)

    def experiment(self) -> str:
        """Id of the MLflow experiment it belongs to."""
        from mlflow.tracking import MlflowClient

        return str(MlflowClient().get_run(self.id).info.experiment_id)

    def link(self, kind: str, run_ids: Sequence[str]) -> None:
        """Write down which runs this one was made from: ``ferlab.from.<kind>``."""
        self.set_tags({f"ferlab.from.{kind}": ",".join(run_ids)})

    def log_text(self, text: str, path: str) -> None:
        """A text artifact."""
        from mlflow.tracking import MlflowClient

        MlflowClient().log_text(self.id, text, path)

    def log_json(self, value: Any, path: str) -> None:
        """A JSON artifact."""
        self.log_text(json.dumps(value, indent=1) + "\n", path)

    def log_figure(self, figure: Any, path: str) -> None:
        """A matplotlib figure as a PNG artifact."""
        from mlflow.tracking import MlflowClient

        # zlib's usual level takes as long as drawing, for a tenth of the bytes
        MlflowClient().log_figure(self.id, figure, path, save_kwargs={"dpi": 130, "pil_kwargs": {"compress_level": 1}})

    def log_bytes(self, data: bytes, path: str) -> None:
        """An artifact of those bytes."""
        folder, _, name = path.rpartition("/")
        self.log_saved(lambda file: file.write_bytes(data), name, folder)

    def log_file(self, file: Path, folder: str = "") -> None:
        """Copy a file into the artifact folder ``folder``."""
        from mlflow.tracking import MlflowClient

        MlflowClient().log_artifact(self.id, str(file), folder or None)

    def log_saved(self, saver: Any, name: str, folder: str = "") -> None:
        """Let ``saver(path)`` write a file called ``name`` and keep it as an artifact."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            saver(path)
            self.log_file(path, folder)

    def log_dataset(self, manifest: Manifest, place: str | Path, context: str) -> None:
        """The prepared dataset in a folder or bucket as a dataset input with its digest; ``context`` is the stage."""
        import mlflow
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        source = resolve_dataset_source(place if is_remote(place) else Path(place).as_uri())
        data = MetaDataset(source, name=manifest.protocol.replace("/", "-"), digest=manifest.digest[:DIGEST_LENGTH])
        tag = InputTag(key=mlflow.utils.mlflow_tags.MLFLOW_DATASET_CONTEXT, value=context)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                MlflowClient().log_inputs(self.id, [DatasetInput(data._to_mlflow_entity(), [tag])])
                break
            except (MlflowException, SQLAlchemyError):  # another process entered the same dataset in between
                if attempt == ATTEMPTS:
                    raise
                time.sleep(0.1 * attempt)
        self.set_tags({"dataset.digest": manifest.digest, "dataset.protocol": manifest.protocol})

    def log_model(self, model: Any, example: Any, metadata: Mapping[str, Any]) -> None:
        """A Keras model with signature and metadata (class names and so on).

        ``example`` is a uint8 batch (n, size_px, size_px, channels), the signature is read off it. Must be called
        inside the run's block. (mlflow.keras 3.17 cannot store an input example: it writes it before its folder.)
        """
        import keras
        import mlflow
        from mlflow.models import infer_signature

        answers = keras.tree.map_structure(keras.ops.convert_to_numpy, model(example, training=False))
        mlflow.keras.log_model(
            model,
            name=MODEL_NAME,
            signature=infer_signature(example, answers),
            pip_requirements=keras_requirements(),
            metadata=dict(metadata),
            save_exported_model=False,
        )


def flatten(config: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings and lists as dotted keys and text values."""
    if isinstance(config, Mapping):
        items = config.items()
    elif isinstance(config, list):
        items = enumerate(config)  # type: ignore[assignment]
    else:
        return {prefix: str(config)[:MAX_PARAM]}
    flat: dict[str, str] = {}
    for key, value in items:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def keras_requirements() -> list[str]:
    """What a stored Keras model needs to run, with the versions that are here."""
    from importlib.metadata import version

    import keras

    return [f"{name}=={version(name)}" for name in (keras.config.backend(), "keras", "numpy", "mlflow")]
