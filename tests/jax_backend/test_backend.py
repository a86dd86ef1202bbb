"""Training on the JAX backend, without TensorFlow: same numbers, on one device, two devices and two processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "tests" / "training"
ROOMS = ("config", "models", "records", "scoring", "training")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def alone(start_in_jax, outcome_of):
    """A small training with BatchNormalization and moving averages of the weights, on one device."""
    return outcome_of(start_in_jax(SCRIPTS / "small_training.py", {"batch_norm": True, "use_ema": True}))


def assert_same_training(got, wanted):
    for name in ("loss", "accuracy", "answers"):
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-4)
    for name in ("weights", "averages"):
        for mine, theirs in zip(got[name] or [], wanted[name] or [], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_every_room_of_training_loads_where_tensorflow_is_not_installed(jax_python, tmp_path):
    script = tmp_path / "load.py"
    script.write_text(
        "import importlib, importlib.util, pkgutil, sys\n"
        "assert importlib.util.find_spec('tensorflow') is None\n"
        "for room in sys.argv[1:]:\n"
        "    package = importlib.import_module(f'ferlab.{room}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'ferlab.{room}.'):\n"
        "        importlib.import_module(module.name)\n"
    )
    done = subprocess.run(
        [str(jax_python), str(script), *ROOMS],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_sharpness_aware_step_is_the_formula_worked_by_hand(start_in_jax, outcome_of, jit_compile):
    outcome = outcome_of(start_in_jax(SCRIPTS / "sharp_step.py", {"jit_compile": jit_compile}))
    for got, wanted in zip(outcome["weights"], outcome["weights_by_hand"], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert outcome["loss"] == pytest.approx(outcome["loss_by_hand"], abs=1e-5)


@pytest.mark.parametrize("options", [{"use_ema": True}, {"rho": 0.3, "use_ema": True}], ids=["sgd", "sharpness"])
def test_jax_ends_where_tensorflow_ends(start_in_jax, outcome_of, options):
    options = options | {"batch_norm": True}
    other = subprocess.run(
        [sys.executable, str(SCRIPTS / "small_training.py"), json.dumps(options)],
        env=os.environ | {"KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr[-3000:]
    wanted = json.loads(other.stdout.splitlines()[-1])
    assert_same_training(outcome_of(start_in_jax(SCRIPTS / "small_training.py", options)), wanted)
    assert np.ptp(wanted["loss"]) > 0.01


def test_two_devices_of_one_process_take_the_steps_of_one(start_in_jax, outcome_of, alone):
    options = {"batch_norm": True, "use_ema": True, "cpus": 2, "devices": ["cpu:0", "cpu:1"]}
    both = outcome_of(start_in_jax(SCRIPTS / "small_training.py", options))
    assert (alone["devices"], both["devices"]) == (1, 2)
    assert_same_training(both, alone)


def test_two_processes_that_feed_half_a_batch_each_end_with_the_losses_of_one(start_in_jax, outcome_of, alone):
    address = f"127.0.0.1:{free_port()}"
    options = {"batch_norm": True, "use_ema": True}
    started = [start_in_jax(SCRIPTS / "small_training.py", options | {"join": [address, 2, part]}) for part in (0, 1)]
    for process in started:
        together = outcome_of(process)
        assert together["devices"] == 2
        assert_same_training(together, alone)


def test_two_processes_take_the_sharpness_aware_steps_of_one(start_in_jax, outcome_of):
    options = {"batch_norm": True, "rho": 0.3}
    alone = outcome_of(start_in_jax(SCRIPTS / "small_training.py", options))
    address = f"127.0.0.1:{free_port()}"
    started = [start_in_jax(SCRIPTS / "small_training.py", options | {"join": [address, 2, part]}) for part in (0, 1)]
    for process in started:
        assert_same_training(outcome_of(process), alone)
