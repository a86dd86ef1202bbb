"""Keras's backend as a command wants it: device, cores, seed."""

import contextlib
import gc

from ferlab.config.nodes import Compute
from ferlab.errors import UserError
from ferlab.models.catalog import GPU
from ferlab.streams import load_backend
from ferlab.training.distribution import own_part
from ferlab.training.precision import cpu_kind

BACKENDS = ("tensorflow", "jax")


def set_up_backend(compute: Compute, seed: int = 0, deterministic: bool = False) -> str:
    """Load the backend, forget earlier models, choose the device, seed everything; the kind of device that computes.

    Raises:
        UserError: the backend is not one of BACKENDS, or a GPU is asked for and it finds none.

    """
    backend = load_backend()
    if backend not in BACKENDS:
        message = f"KERAS_BACKEND={backend}: ferlab runs on {' and '.join(BACKENDS)}. Set it to one, or unset it."
        raise UserError(message)
    import keras

    if not gc.get_freeze_count():
        gc.freeze()  # the libraries stay: looking through them for what an earlier job left would take half a second
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    has_gpu = _tensorflow_device(compute, deterministic) if backend == "tensorflow" else _jax_device(compute)
    if compute.device == "gpu" and not has_gpu:
        package = "tensorflow[and-cuda]" if backend == "tensorflow" else "jax[cuda]"
        message = (
            f"compute.device=gpu: {backend} finds no GPU. Install its CUDA libraries with pip install '{package}', "
            "or use compute.device=cpu."
        )
        raise UserError(message)
    return GPU if has_gpu and compute.device != "cpu" else cpu_kind()


def logical_devices(compute: Compute) -> list[str]:
    """Names of the devices that the processor plays; none where it plays none, or where several processes have some."""
    import keras

    if keras.config.backend() == "jax" and own_part()[1] > 1:
        return []
    return [
        f"{'cpu' if keras.config.backend() == 'jax' else 'CPU'}:{number}" for number in range(compute.logical_devices)
    ]


def _tensorflow_device(compute: Compute, deterministic: bool) -> bool:
    """Whether TensorFlow has a GPU; it is hidden when the CPU is asked for."""
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    with contextlib.suppress(RuntimeError):  # the first job of a process has fixed the threads
        tf.config.threading.set_intra_op_parallelism_threads(compute.cores)
    if compute.logical_devices:
        with contextlib.suppress(RuntimeError):  # set by the first job of a process
            played = [tf.config.LogicalDeviceConfiguration()] * compute.logical_devices
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], played)
    gpus = tf.config.list_physical_devices("GPU")
    if compute.device == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")
    return bool(gpus)


def _jax_device(compute: Compute) -> bool:
    """Whether JAX has a GPU; arrays go to the CPU when that is asked for."""
    import jax

    if compute.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if compute.logical_devices:
        with contextlib.suppress(RuntimeError):  # set by the first job of a process
            jax.config.update("jax_num_cpu_devices", compute.logical_devices)
    return any(device.platform == "gpu" for device in jax.devices())


def gpu_names() -> list[str]:
    """What the GPUs are called that compute now; none on a CPU. Needs a backend that is set up."""
    import keras

    if keras.config.backend() == "jax":
        import jax

        return [str(device.device_kind) for device in jax.devices() if device.platform == "gpu"]
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    return [str(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")) for gpu in gpus]
