"""``ferlab runs copy_to=URI``: models and registered versions arrive in the other store and answer there."""

from typing import Any

import numpy as np
from mlflow.tracking import MlflowClient

from ferlab.commands.register import run as register
from ferlab.commands.runs import run
from ferlab.config.nodes import Compute, Intervals
from ferlab.config.schema import RegisterConfig, RunsConfig
from ferlab.tracking.records import find_run
from ferlab.tracking.store import connect


def test_models_and_registered_versions_arrive_and_answer(recorded: Any, other_store: str, monkeypatch: Any) -> None:
    import mlflow

    made = recorded("runs")
    net = made.train("net", 0)
    asked = RegisterConfig(None, net, "faces", "accuracy", 0.01, Intervals(100, 0), Compute("local"))
    registered = register(asked, made.context)["run_id"]
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1), dtype=np.uint8)
    expected = find_run(net).load_model().predict(images, verbose=0)
    source = made.context.store.uri
    done = run(RunsConfig(copy_to=other_store), made.context)
    assert (done["created"], done["versions"]) == (2, 1)
    again = run(RunsConfig(copy_to=other_store), made.context)
    assert (again["created"], again["same"], again["versions"]) == (0, 2, 0)
    card = MlflowClient(source, source).get_model_version("faces", "1").description

    monkeypatch.setenv("MLFLOW_TRACKING_URI", other_store)
    connect(made.context.home, made.context.home)
    mlflow.set_registry_uri(other_store)
    copy = find_run(done["ids"][net])
    np.testing.assert_allclose(copy.load_model().predict(images, verbose=0), expected, atol=1e-6)
    served = mlflow.pyfunc.load_model("models:/faces@champion")
    np.testing.assert_allclose(served.predict(images).to_numpy()[:, 1:].astype(float), expected, atol=1e-5)
    assert served.metadata.run_id == done["ids"][registered]
    version = MlflowClient(other_store, other_store).get_model_version("faces", "1")
    assert version.tags["ferlab.run"] == done["ids"][net]
    assert version.description == card.replace(net, done["ids"][net])
    (dataset,) = MlflowClient(other_store).get_run(copy.id).inputs.dataset_inputs
    assert dataset.dataset.digest == made.prepared.manifest.digest[:32]
