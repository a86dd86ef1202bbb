"""One training on several GPUs of a machine, or, with JAX, on several machines; every device has the same weights."""

import contextlib
import functools
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ferlab.errors import UserError, first_line
from ferlab.training.targets import Batch

Made = TypeVar("Made")

AHEAD = 2
"""Batches handed to TensorFlow before they are asked for."""
_part = (0, 1)
"""What ``join_processes`` has made of this process."""


def join_processes(coordinator: str, processes: int, process: int) -> None:
    """Make this process number ``process`` (from 0) of ``processes`` that train one model on the JAX backend.

    Call it before anything else touches JAX, then ``all_gpus``. ``coordinator`` is ``host:port`` of process 0. It
    returns when all have come. On CPUs they talk through gloo.

    Raises:
        UserError: the backend is not JAX, the numbers do not fit, or the others did not come.

    """
    import keras

    if keras.config.backend() != "jax":
        message = "Several processes train one model on the JAX backend only: set KERAS_BACKEND=jax in each of them."
        raise UserError(message)
    if not 0 <= process < processes:
        message = f"process={process}: the processes are numbered from 0 to {processes - 1}."
        raise UserError(message)
    global _part
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        message = (
            f"{coordinator}: process {process} of {processes} could not join ({first_line(error, 120)}). "
            "Start all of them, with the same address, before anything else uses JAX."
        )
        raise UserError(message) from error
    _part = process, processes


@contextlib.contextmanager
def all_gpus(devices: Sequence[str] = ()) -> Iterator[int]:
    """Context in which a model that is built, compiled and trained shares each batch among all visible GPUs.

    It yields the number of devices, over all processes; with one it changes nothing. TensorFlow mirrors the weights
    (``MirroredStrategy``), JAX shards the batch (``DataParallel``); the gradient is that of the global batch on both.
    BatchNormalization sees the whole batch on JAX, each device's share of it on TensorFlow.

    Args:
        devices: names such as ``CPU:0`` (TensorFlow) or ``cpu:0`` (JAX) to use in place of the visible GPUs.

    """
    import keras

    if keras.config.backend() == "jax":
        names = list(devices) or _jax_devices()
        if len(names) > 1:
            parallel = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
            with parallel.scope():
                yield len(names)
            return
    else:
        import tensorflow as tf

        names = list(devices) or [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
        if len(names) > 1:
            with _mirrored(tuple(names)).scope():
                yield len(names)
            return
    yield 1


@functools.cache
def _mirrored(names: tuple[str, ...]) -> Any:
    """One for all trainings of this process: each new one counts its collectives anew, as if none had been before."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(names))


def own_part() -> tuple[int, int]:
    """Which of the processes that train together this is, and how many they are; JAX is not started for the answer."""
    return _part


def _jax_devices() -> list[str]:
    """All GPUs; without any, the CPUs of several processes, else none."""
    import jax
    import keras

    if jax.default_backend() == "cpu" and jax.process_count() == 1:
        return []
    return list(keras.distribution.list_devices(jax.default_backend()))


def of_first_process(make: Callable[[], Made]) -> Made:
    """What ``make`` gives, or the UserError that it raises, in process 0: called there alone, the same in all.

    With several processes all must call it together. Afterwards everyone knows that ``make`` is done.
    """
    if not _several_processes():
        return make()
    import jax
    from jax.experimental.multihost_utils import broadcast_one_to_all

    told = pickle.dumps(_outcome(make)) if jax.process_index() == 0 else b""
    size = int(broadcast_one_to_all(np.uint32(len(told))))
    # who is not asked still has to bring an array of the same length
    outcome = pickle.loads(broadcast_one_to_all(np.frombuffer(told.ljust(size, b"\0"), np.uint8)).tobytes())
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def _several_processes() -> bool:
    import keras

    if keras.config.backend() != "jax":
        return False
    import jax

    return jax.process_count() > 1


def _outcome(make: Callable[[], Made]) -> Made | UserError:
    try:
        return make()
    except UserError as error:
        return error


def check_shares(batch_size: int, devices: int) -> None:
    """UserError when a batch cannot be shared equally: the mean over devices would not be the mean over the batch."""
    if batch_size % devices:
        fitting = batch_size // devices * devices or devices
        message = f"recipe.batch_size={batch_size}: not a multiple of the {devices} devices. Take {fitting}."
        raise UserError(message)


def fed(batches: Callable[[], Generator[Batch, None, None]]) -> Any:
    """What ``fit`` takes, from a function that begins the batches anew: with TensorFlow a ``tf.data.Dataset``.

    Keras looks at the data before it trains on mirrored devices: from a plain generator it takes batches that the
    training then never sees. And what it makes of a generator tunes itself, for which a training may wait seconds when
    it ends; the batches are made ahead already.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return batches()
    import tensorflow as tf

    peeked = batches()
    first = next(peeked)
    peeked.close()
    signature = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), first)
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(AHEAD).with_options(options)


def steps_at_once(asked: int) -> int:
    """``steps_per_execution`` for ``compile``: 1 where weights are mirrored, Keras fails there with more (#19246)."""
    return 1 if _mirrors() else asked


def predicted(network: Any, block: np.ndarray) -> Any:
    """Answers (n, ...) of ``network`` to ``block`` (n, ...), in every process, whatever shares the training.

    A network with several outputs gives a dict of them.

    With several processes all must call it together, with the same block.
    """
    # each mirrored device answers the whole block, and Keras puts their answers one after the other
    answers = network.predict_on_batch(block)
    if isinstance(answers, dict):
        return {name: np.asarray(answer)[: len(block)] for name, answer in answers.items()}
    return np.asarray(answers)[: len(block)]


def _mirrors() -> bool:
    import keras

    if keras.config.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.distribute.has_strategy())
