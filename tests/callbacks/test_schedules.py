"""Schedules: their figures, and that training feels them on every backend."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from keras_norm import callbacks
from keras_norm import layers

XLA = keras.backend.backend() != "torch"
FIT = {"batch_size": 4, "shuffle": False, "verbose": 0}


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 2.0, (12, 5)).astype("float32")
    return x, rng.normal(size=(12, 1)).astype("float32")


class Inside(keras.layers.Layer):
    """A wrapper of the user's own."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs, training=None):
        return self.layer(inputs, training=training)


def model_of(layer):
    """The layer in a wrapper in a model in a model."""
    inner = keras.Sequential([keras.Input((5,)), Inside(layer)])
    dense = keras.layers.Dense(
        1, kernel_initializer=keras.initializers.GlorotUniform(seed=1)
    )
    model = keras.Sequential([keras.Input((5,)), inner, dense])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=XLA)
    return model


# Renorm ----------------------------------------------------------------------


def test_bounds_of_the_paper():
    schedule = callbacks.RenormSchedule()
    found = {
        step: schedule.bounds(step, rmax=3.0, dmax=5.0)
        for step in (0, 5000, 15000, 22500, 25000, 40000, 10**6)
    }
    assert found == {
        0: (1.0, 0.0),
        5000: (1.0, 0.0),
        15000: (1.0 + 2.0 * 2 / 7, 2.5),
        22500: (2.0, 4.375),
        25000: (1.0 + 2.0 * 4 / 7, 5.0),
        40000: (3.0, 5.0),
        10**6: (3.0, 5.0),
    }


def test_renorm_schedule_reaches_the_compiled_step():
    """Six steps of `fit` are six single steps with bounds set by hand."""
    x, target = data()
    layer, same = (layers.BatchRenormalization(1.5, 2.0) for _ in range(2))
    fitted, stepped = model_of(layer), model_of(same)
    schedule = callbacks.RenormSchedule(start=1, rmax_end=5, dmax_end=3)
    losses = fitted.fit(x, target, epochs=2, callbacks=[schedule], **FIT)
    expected = []
    for step in range(6):
        rmax, dmax = schedule.bounds(step, 1.5, 2.0)
        same.rmax.assign(rmax)
        same.dmax.assign(dmax)
        part = slice(4 * (step % 3), 4 * (step % 3) + 4)
        expected.append(stepped.train_on_batch(x[part], target[part]))
    expected = np.mean(np.reshape(expected, (2, 3)), axis=1)
    close(losses.history["loss"], expected, entries=x.size)
    for a, b in zip(fitted.weights, stepped.weights, strict=True):
        close(numpy(a), numpy(b), entries=x.size)
    # Which is not what the bounds of the end would have done.
    assert np.any(numpy(layer.rmax) == 1.5)
    plain = model_of(layers.BatchRenormalization(1.5, 2.0))
    plain.fit(x, target, epochs=2, **FIT)
    assert np.max(np.abs(plain.get_weights()[0] - fitted.get_weights()[0])) > 0


def test_renorm_schedule_goes_on_where_the_optimizer_is():
    x, target = data()
    layer = layers.BatchRenormalization()
    model = model_of(layer)
    model.optimizer.iterations.assign(450)
    schedule = callbacks.RenormSchedule(start=100, rmax_end=800, dmax_end=500)
    model.fit(x[:4], target[:4], callbacks=[schedule], **FIT)
    close(numpy(layer.rmax), 2.0)
    close(numpy(layer.dmax), 4.375)


@pytest.mark.parametrize(
    "options", [{"rmax_end": 4999}, {"dmax_end": 0}, {"start": "a"}]
)
def test_an_end_before_the_start(options):
    with pytest.raises(ValueError, match="_end` must be a step from `start`"):
        callbacks.RenormSchedule(**options)


# Momentum --------------------------------------------------------------------


@pytest.mark.parametrize("epochs, batch_size", [(1, 16), (7, 4), (5, 64)])
def test_momentum_is_the_formula(epochs, batch_size):
    schedule = callbacks.MomentumSchedule(epochs, batch_size)
    rho = min(batch_size / 64, 1.0) ** (1 / epochs)
    for k in range(1, epochs + 3):
        if epochs == 1:
            expected = 0.0
        else:
            power = epochs * max(epochs - k, 0) / (epochs - 1)
            expected = rho**power - rho**epochs
        assert abs(schedule.training_momentum(k) - expected) < 1e-12
    assert schedule.training_momentum(1) == 0.0
    if epochs > 1:
        end = 1.0 - min(batch_size / 64, 1.0)
        assert abs(schedule.training_momentum(epochs) - end) < 1e-12
    tau = schedule.moving_momentum(0.9)
    assert abs(tau - 0.9 ** (batch_size / 64)) < 1e-12


def test_momentum_schedule_reaches_the_compiled_step():
    x, target = data()
    layer, same = (layers.MomentumBatchNormalization() for _ in range(2))
    fitted, stepped = model_of(layer), model_of(same)
    schedule = callbacks.MomentumSchedule(epochs=3, batch_size=4)
    # As if the first epoch was done before.
    fitted.fit(
        x, target, initial_epoch=1, epochs=3, callbacks=[schedule], **FIT
    )
    for k in (2, 3):
        same.training_momentum.assign(schedule.training_momentum(k))
        same.moving_momentum.assign(0.9 ** (4 / 64))
        for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
            stepped.train_on_batch(x[part], target[part])
    for a, b in zip(fitted.weights, stepped.weights, strict=True):
        close(numpy(a), numpy(b), entries=x.size)


# Both ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "callback, layer",
    [
        (callbacks.RenormSchedule(), "BatchRenormalization"),
        (callbacks.MomentumSchedule(2, 4), "MomentumBatchNormalization"),
        (callbacks.DoubleForward(), "MemorizedBatchNormalization"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_without_such_a_layer(callback, layer):
    model = model_of(layers.BatchNormalization())
    with pytest.raises(ValueError, match=f"the model has none.*{layer}"):
        model.fit(*data(), callbacks=[callback], **FIT)
