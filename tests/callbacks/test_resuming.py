"""Training that was saved goes on as if it had not been."""

import keras
import numpy as np
import pytest

from keras_norm import callbacks
from keras_norm import layers

XLA = keras.backend.backend() != "torch"
FIT = {"batch_size": 6, "shuffle": False, "verbose": 0}


def model_of():
    """Layers whose state is more than moving averages, in a row."""
    made = [
        layers.BatchRenormalization(),
        layers.FullNormalization(),
        layers.MomentumBatchNormalization(),
        layers.MemorizedBatchNormalization(),
    ]
    rows = [keras.Input((5,))]
    for i, layer in enumerate(made):
        initializer = keras.initializers.Orthogonal(seed=i)
        dense = keras.layers.Dense(5, "tanh", kernel_initializer=initializer)
        rows += [dense, layer]
    model = keras.Sequential([*rows, keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse", jit_compile=XLA)
    return model


def schedules():
    return [
        callbacks.RenormSchedule(start=2, rmax_end=9, dmax_end=7),
        callbacks.MomentumSchedule(epochs=3, batch_size=6),
        callbacks.DoubleForward(),
    ]


@pytest.mark.compile
def test_resumed_losses(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5)).astype("float32")
    target = rng.normal(size=(12, 1)).astype("float32")
    model = model_of()
    model.fit(x, target, callbacks=schedules(), **FIT)
    model.save(tmp_path / "model.keras")
    losses = []
    for going in (model, keras.models.load_model(tmp_path / "model.keras")):
        history = going.fit(
            x,
            target,
            initial_epoch=1,
            epochs=3,
            callbacks=schedules(),
            **FIT,
        )
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-6)
