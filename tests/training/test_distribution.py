"""One training on two devices of a machine: the losses of one device with the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.training.distribution import all_gpus, check_shares, fed, join_processes, of_first_process, steps_at_once

STEPS = Path(__file__).with_name("small_training.py")
FIT = Path(__file__).parents[1] / "jax_backend" / "phased_training.py"


def run_script(script, options):
    """Logical devices are fixed when TensorFlow starts, so each training has a process of its own."""
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(options)],
        env=os.environ | {"KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def run_small_training(**options):
    return run_script(STEPS, options)


NETWORKS = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from ferlab.training.distribution import all_gpus
for width in (8, 5, 11):
    keras.backend.clear_session()
    with all_gpus(["CPU:0", "CPU:1"]) as devices:
        normalised = keras.layers.BatchNormalization()
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), normalised, keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        found = model.fit(np.ones((8, 4), np.float32), np.ones(8, np.float32), batch_size=4, epochs=2, verbose=0)
    print(devices, width, found.history["loss"][-1] < found.history["loss"][0])
"""


def full_disk():
    message = "the disk is full"
    raise UserError(message)


@pytest.mark.parametrize("options", [{"use_ema": True}, {"rho": 0.5}], ids=["sgd", "sharpness"])
def test_two_mirrored_devices_take_the_steps_of_one(options):
    alone = run_small_training(cpus=2, devices=["CPU:0"], **options)
    both = run_small_training(cpus=2, devices=["CPU:0", "CPU:1"], **options)
    assert (alone["devices"], both["devices"]) == (1, 2)
    for name in ("loss", "accuracy", "answers"):
        np.testing.assert_allclose(both[name], alone[name], atol=1e-4)
    for mine, wanted in zip(both["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(mine, wanted, atol=1e-4)
    assert np.ptp(alone["loss"]) > 0.01
    if "use_ema" in options:
        for mine, wanted in zip(both["averages"], alone["averages"], strict=True):
            np.testing.assert_allclose(mine, wanted, atol=1e-4)


def test_without_gpus_nothing_changes(tf):
    def batches():
        yield np.zeros(2), np.ones(2)

    with all_gpus() as devices:
        assert devices == 1
        assert not tf.distribute.has_strategy()
        assert steps_at_once(16) == 16
        ((_, targets),) = fed(batches)
        assert targets.numpy().tolist() == [1, 1]


def test_a_batch_that_cannot_be_shared_equally_is_refused():
    check_shares(128, 2)
    with pytest.raises(UserError, match=r"batch_size=130: .* 4 devices. Take 128"):
        check_shares(130, 4)
    with pytest.raises(UserError, match="Take 8"):
        check_shares(4, 8)


def test_only_jax_joins_processes(tf):
    with pytest.raises(UserError, match="KERAS_BACKEND=jax"):
        join_processes("127.0.0.1:1", 2, 0)


def test_one_network_after_another_is_mirrored_in_a_process():
    """As in a pipeline. Each strategy of TensorFlow counts its collectives from the same number on."""
    done = subprocess.run(
        [sys.executable, "-c", NETWORKS],
        env=os.environ | {"KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["2", "8", "True", "2", "5", "True", "2", "11", "True"], done.stderr[-3000:]


@pytest.mark.slow
def test_fit_on_two_mirrored_devices_has_the_losses_of_one(prepared, tmp_path):
    """Plain SGD, no BatchNormalization: that sees a device's share of the batch and not the whole."""

    def outcome(name, devices):
        asked = {"folder": str(prepared.folder), "work": str(tmp_path / name), "cpus": 2, "devices": devices}
        return run_script(FIT, asked | {"batch_norm": False, "one_phase": True, "augment": "light"})

    alone, both = outcome("alone", ["CPU:0"]), outcome("both", ["CPU:0", "CPU:1"])
    assert (alone["devices"], both["devices"]) == (1, 2)
    assert both["batches"] == alone["batches"]
    for mine, wanted in zip(both["history"], alone["history"], strict=True):
        assert mine.pop("phase") == wanted.pop("phase")
        assert mine == pytest.approx(wanted, abs=1e-4)
    assert alone["history"][-1]["loss"] < 0.99 * alone["history"][0]["loss"]


def test_the_first_process_answers_for_all(tf):
    """With one process it is the first; two are tested on JAX."""
    assert of_first_process(lambda: [1, 2]) == [1, 2]
    with pytest.raises(UserError, match="full"):
        of_first_process(full_disk)
