"""A small training for tests of devices and processes: run as a script, it prints what came of it as one JSON line."""

import json
import os
import sys

import numpy as np

BATCH, STEPS, EPOCHS, SIDE, CLASSES = 8, 4, 3, 6, 3


def batches(rows=slice(None)):
    """Always the same batches of images, targets and weights, of each the given ``rows``."""
    draw = np.random.default_rng(0)
    for _ in range(STEPS * EPOCHS):
        batch = (
            draw.integers(0, 256, (BATCH, SIDE, SIDE, 1), dtype=np.uint8),
            np.eye(CLASSES, dtype="float32")[draw.integers(0, CLASSES, BATCH)],
            draw.uniform(0.5, 2, BATCH).astype("float32"),
        )
        yield tuple(array[rows] for array in batch)


def network(keras, batch_norm):
    """Gray images in 0..255 to probabilities."""
    inputs = keras.Input((SIDE, SIDE, 1), dtype="uint8")
    x = keras.layers.Conv2D(4, 3, use_bias=True)(keras.layers.Rescaling(1 / 255)(inputs))
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(x))
    # each backend has a generator of its own, and moving variances are positive
    draw = np.random.default_rng(1)
    model.set_weights([draw.uniform(0.1, 0.9, weight.shape) - 0.4 * (weight.ndim > 1) for weight in model.weights])
    return model


def trained(devices=(), rho=0.0, rows=slice(None), batch_norm=False, use_ema=False):
    """Losses and accuracies of the epochs, the weights, the answers to five images, the number of devices."""
    import keras

    from ferlab.training.averaging import averaged_weights
    from ferlab.training.distribution import all_gpus, check_shares, fed, predicted, steps_at_once
    from ferlab.training.sharpness import sharpness_aware

    averages = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: averages.append(averaged_weights(trainee)))
    keras.utils.set_random_seed(0)
    with all_gpus(devices) as count:
        check_shares(BATCH, count)
        model = network(keras, batch_norm)
        trainee = sharpness_aware(model, rho) if rho else model
        trainee.compile(
            keras.optimizers.SGD(0.5, momentum=0.9, nesterov=True, use_ema=use_ema, ema_momentum=0.8),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=steps_at_once(2),
            jit_compile=keras.config.backend() == "jax",
        )
        history = trainee.fit(
            fed(lambda: batches(rows)),
            epochs=EPOCHS,
            steps_per_epoch=STEPS,
            shuffle=False,
            verbose=0,
            callbacks=[keep] if use_ema else [],
        ).history
        block = np.random.default_rng(7).integers(0, 256, (5, SIDE, SIDE, 1), dtype=np.uint8)
        answers = predicted(model, block)
    return {
        "loss": history["loss"],
        "accuracy": history["accuracy"],
        "weights": [weight.tolist() for weight in model.get_weights()],
        "averages": [weight.tolist() for weight in averages[-1]] if averages else None,
        "answers": answers.tolist(),
        "devices": count,
    }


def main(options):
    """Options of ``trained``, and ``cpus`` (logical CPUs) or ``join`` (coordinator, processes, process)."""
    join, cpus = options.pop("join", None), options.pop("cpus", 1)
    if os.environ["KERAS_BACKEND"] == "jax":
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={cpus}"
    else:
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * cpus)
    if join:
        from ferlab.training.distribution import join_processes

        join_processes(*join)
        share = BATCH // join[1]
        options["rows"] = slice(join[2] * share, (join[2] + 1) * share)
    print(json.dumps(trained(**options)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
