"""TensorFlow as a command wants it: device, cores, seed."""

import contextlib

from ferlab.config.schema import Compute
from ferlab.errors import UserError
from ferlab.streams import load_tensorflow


def set_up_backend(compute: Compute, seed: int = 0, deterministic: bool = False) -> bool:
    """Load TensorFlow, forget earlier models, choose the device, seed everything; whether a GPU will be used.

    Raises:
        UserError: a GPU is asked for and TensorFlow finds none.

    """
    load_tensorflow()
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    with contextlib.suppress(RuntimeError):  # the first job of a process has fixed the threads
        tf.config.threading.set_intra_op_parallelism_threads(compute.cores)
    gpus = tf.config.list_physical_devices("GPU")
    if compute.device == "gpu" and not gpus:
        message = (
            "compute.device=gpu: TensorFlow finds no GPU. Install its CUDA libraries with "
            "pip install 'tensorflow[and-cuda]', or use compute.device=cpu."
        )
        raise UserError(message)
    if compute.device == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")
    return bool(gpus) and compute.device != "cpu"
