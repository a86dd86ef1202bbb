"""A training that is interrupted, or killed outright, goes on as the same run and ends as if nothing had been."""

import signal
from typing import Any

import numpy as np
import pytest
import yaml

from ferlab.predictions import Predictions

from .conftest import Done, Workplace

pytestmark = pytest.mark.slow

TRAIN = (
    "train",
    "dataset.synthesize.count=210",
    "backbone.width=0.25",
    "recipe=quick",
    "recipe.batch_size=32",
    "recipe.precision=float32",
    "deterministic=true",
)


def predictions(place: Workplace, run_id: str) -> np.ndarray:
    file = place.artifacts(run_id) / "predictions/validation.parquet"
    return Predictions.load(file).ordered_by_id().probabilities


@pytest.fixture(scope="module")
def whole(workplace: Workplace) -> Done:
    """The training without any interruption."""
    done = workplace.ferlab(*TRAIN)
    assert done.code == 0, done.err
    return done


def newest(place: Workplace) -> Any:
    return place.runs()[-1]


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        (signal.SIGINT, 130, "KILLED"),
        (signal.SIGTERM, 143, "KILLED"),
        (signal.SIGKILL, -9, "RUNNING"),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_an_interrupted_run_is_resumed_to_the_same_end(
    workplace: Workplace, whole: Done, sent: signal.Signals, code: int, status: str
) -> None:
    ended = workplace.interrupt(sent, *TRAIN)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    run = newest(workplace)
    assert (f"ferlab train resume={run.info.run_id}\n" in ended.out) == (sent != signal.SIGKILL)
    assert (run.info.status, run.data.tags["ferlab.stage"]) == (status, "train")
    resumed = workplace.ferlab("train", f"resume={run.info.run_id}")
    assert resumed.code == 0, resumed.err
    assert resumed.result["run_id"] == run.info.run_id
    assert newest(workplace).info.run_id == run.info.run_id
    assert newest(workplace).info.status == "FINISHED"
    assert " epoch  1/" not in resumed.out
    mine, expected = (predictions(workplace, run_id) for run_id in (run.info.run_id, whole.result["run_id"]))
    np.testing.assert_array_equal(mine, expected)
    assert resumed.result["metrics"] == whole.result["metrics"]


def test_a_run_whose_machine_is_gone_is_resumed(workplace: Workplace, whole: Done) -> None:
    """A replaced container has another name, so nobody closes the run that is still called RUNNING."""
    from mlflow.tracking import MlflowClient

    workplace.interrupt(signal.SIGKILL, *TRAIN)
    run_id = newest(workplace).info.run_id
    MlflowClient(f"sqlite:///{workplace.home / 'mlflow.db'}").set_tag(run_id, "ferlab.host", "gone")
    workplace.ferlab("doctor")
    assert workplace.run(run_id).info.status == "RUNNING"
    resumed = workplace.ferlab("train", f"resume={run_id}")
    assert resumed.code == 0, resumed.err
    np.testing.assert_array_equal(predictions(workplace, run_id), predictions(workplace, whole.result["run_id"]))


def test_a_run_that_still_trains_is_not_resumed_beside_it(workplace: Workplace) -> None:
    with workplace.running(*TRAIN, "recipe.phases.0.epochs=500"):
        run_id = newest(workplace).info.run_id
        refused = workplace.ferlab("train", f"resume={run_id}")
    assert f"resume={run_id}: another process is training it now" in refused.complaint
    assert " epoch " not in refused.out


def test_weights_that_are_gone_do_not_hinder_a_resumption(workplace: Workplace) -> None:
    import keras

    base = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(48, 48, 3))
    file = workplace.home / "mine.weights.h5"
    base.save_weights(file)
    settings = ("backbone=mobilenetv2", "backbone.working_px=null", "recipe=two_phase", "recipe.phases.1.epochs=2")
    ended = workplace.interrupt(
        signal.SIGTERM, "train", "dataset.synthesize.count=210", *settings, "backbone.weights=mine.weights.h5"
    )
    assert ended.code == 143, ended.err
    run = newest(workplace)
    assert run.data.params["backbone.weights"] == str(file)
    file.unlink()
    resumed = workplace.ferlab("train", f"resume={run.info.run_id}")
    assert resumed.code == 0, resumed.err
    assert workplace.run(run.info.run_id).data.tags["pretrained"] == "true"
    config = yaml.safe_load((workplace.artifacts(run.info.run_id) / "config.yaml").read_text())
    assert config["backbone"]["weights"] == str(file)


def test_the_same_seed_gives_the_same_predictions(workplace: Workplace, whole: Done) -> None:
    again = workplace.ferlab(*TRAIN)
    first, second = (predictions(workplace, done.result["run_id"]) for done in (whole, again))
    np.testing.assert_array_equal(first, second)


def test_a_finished_run_is_not_resumed(workplace: Workplace, whole: Done) -> None:
    refused = workplace.ferlab("train", f"resume={whole.result['run_id']}")
    assert "nothing to resume" in refused.complaint


def test_a_resumed_run_takes_no_other_settings(workplace: Workplace, whole: Done) -> None:
    refused = workplace.ferlab("train", f"resume={whole.result['run_id']}", "seed=5")
    assert "leave out seed=5" in refused.complaint


def test_a_killed_run_is_closed_by_the_next_command(workplace: Workplace, whole: Done) -> None:
    workplace.interrupt(signal.SIGKILL, *TRAIN)
    killed = newest(workplace).info.run_id
    workplace.ferlab("doctor")
    assert workplace.run(killed).info.status == "KILLED"


def test_several_seeds_give_a_list_of_results(workplace: Workplace, whole: Done) -> None:
    swept = workplace.ferlab("train", "debug=fast", "backbone.width=0.25", "recipe=quick", "seed=0,1", "-m")
    assert swept.code == 0, swept.err
    assert len({result["run_id"] for result in swept.result}) == 2


def test_colour_faces_in_the_affectnet_layout_train(workplace: Workplace) -> None:
    done = workplace.ferlab(
        "train", "dataset=affectnet7", "backbone=mobilenetv2", "backbone.working_px=48", "debug=fast"
    )
    assert done.code == 0, done.err
    run = workplace.run(done.result["run_id"])
    assert run.data.tags["dataset.protocol"] == "synthetic/carved", "drawn faces do not carry AffectNet's name"
    assert run.data.tags["pretrained"] == "false"
    found = Predictions.load(workplace.artifacts(run.info.run_id) / "predictions/validation.parquet")
    assert found.classes == ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")
