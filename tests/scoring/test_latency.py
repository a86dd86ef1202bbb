"""The latency is what a warm call takes, and measuring it ends."""

import itertools
import time
from typing import Any

import pytest

from ferlab.scoring.latency import BOUND_S, LEAST_CALLS, MOST_CALLS, WARM_UP, latency_of


@pytest.fixture
def timed_model(tf: Any) -> Any:
    """``timed_model(seconds)``: a model of whose calls the n-th takes ``seconds(n)``, with the sizes of its batches."""
    import keras

    def make(seconds: Any) -> tuple[Any, list[int]]:
        sizes: list[int] = []

        def wait(images: Any) -> Any:
            time.sleep(seconds(len(sizes)))
            sizes.append(len(images))
            return images

        class Wait(keras.layers.Layer):
            def call(self, images: Any) -> Any:
                waited = tf.py_function(wait, [images], "uint8")
                waited.set_shape(images.shape)
                return tf.cast(waited, "float32")

        image = keras.Input((4, 4, 1), dtype="uint8")
        return keras.Model(image, keras.layers.Flatten()(Wait()(image))), sizes

    return make


def test_it_is_the_median_of_warm_calls_with_one_image(timed_model: Any) -> None:
    model, sizes = timed_model(lambda call: 0.15 if call < WARM_UP else 0.02)
    found = latency_of(model)
    assert 20 <= found.low_ms <= found.median_ms <= found.high_ms < 150
    assert len(sizes) == WARM_UP + found.calls
    assert set(sizes) == {1}
    assert LEAST_CALLS <= found.calls <= BOUND_S / 0.02 + 1


@pytest.mark.parametrize(("step_s", "calls"), [(0.0001, MOST_CALLS), (BOUND_S, LEAST_CALLS)])
def test_fast_and_slow_models_are_called_a_bounded_number_of_times(timed_model: Any, step_s: float, calls: int) -> None:
    model, sizes = timed_model(lambda call: 0)
    ticks = itertools.count()
    found = latency_of(model, lambda: step_s * next(ticks))
    assert (found.calls, len(sizes)) == (calls, WARM_UP + calls)
    assert found.median_ms == pytest.approx(1000 * step_s)


def test_batches_seen_before_change_nothing(timed_model: Any) -> None:
    import numpy as np

    model, sizes = timed_model(lambda call: 0)
    model.predict_on_batch(np.zeros((8, 4, 4, 1), np.uint8))
    latency_of(model)
    assert set(sizes[1:]) == {1}
