"""The radius of sparse mixtures: its figures, and that training feels it."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from keras_norm import callbacks
from keras_norm import layers

XLA = keras.backend.backend() != "torch"
FIT = {"batch_size": 4, "shuffle": False, "verbose": 0}
LOGITS = [0.2, 0.5]


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 2.0, (12, 5)).astype("float32")
    return x, rng.normal(size=(12, 1)).astype("float32")


def model_of(layer):
    """The layer in a model in a model."""
    inner = keras.Sequential([keras.Input((5,)), layer])
    dense = keras.layers.Dense(
        1, kernel_initializer=keras.initializers.GlorotUniform(seed=1)
    )
    model = keras.Sequential([keras.Input((5,)), inner, dense])
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=XLA)
    if hasattr(layer, "radius"):
        layer.mean_weight.assign(LOGITS)
        layer.variance_weight.assign(LOGITS)
    return model


def test_radius_of_a_step():
    schedule = callbacks.SparsestmaxRadius(8, 0.2, 1.0)
    found = [schedule.radius(step) for step in (0, 2, 4, 8, 100)]
    np.testing.assert_allclose(found, [0.2, 0.4, 0.6, 1.0, 1.0])
    assert callbacks.SparsestmaxRadius(5).radius(1) == 0.2


def test_it_reaches_the_compiled_step_and_a_choice_is_kept():
    """Six steps of `fit` are six single steps with the radius set by hand."""
    x, target = data()
    layer, same = (layers.SparseSwitchableNormalization() for _ in range(2))
    fitted, stepped = model_of(layer), model_of(same)
    schedule = callbacks.SparsestmaxRadius(4)
    losses = fitted.fit(x, target, epochs=2, callbacks=[schedule], **FIT)
    expected = []
    for step in range(6):
        same.radius.assign(schedule.radius(step))
        part = slice(4 * (step % 3), 4 * (step % 3) + 4)
        expected.append(stepped.train_on_batch(x[part], target[part]))
        decided = np.any(numpy(same.mean_chosen))
        assert decided == (schedule.radius(step) > 0.5**0.5)
    expected = np.mean(np.reshape(expected, (2, 3)), axis=1)
    close(losses.history["loss"], expected, entries=x.size)
    for a, b in zip(fitted.weights, stepped.weights, strict=True):
        close(numpy(a), numpy(b), entries=x.size)
    np.testing.assert_array_equal(numpy(layer.mean_chosen), [0, 1])
    assert numpy(layer.radius) == 1.0


def test_it_goes_on_where_the_optimizer_is():
    x, target = data()
    layer = layers.SparseSwitchableNormalization()
    model = model_of(layer)
    model.optimizer.iterations.assign(30)
    schedule = callbacks.SparsestmaxRadius(100)
    model.fit(x[:4], target[:4], callbacks=[schedule], **FIT)
    close(numpy(layer.radius), 0.3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"total_steps": 0}, "`total_steps` must be an integer"),
        ({"total_steps": 5, "start": -0.1}, "`start` must be a radius"),
        ({"total_steps": 5, "end": "a"}, "`end` must be a radius"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.SparsestmaxRadius(**options)


def test_a_model_without_such_a_layer():
    model = model_of(layers.BatchNormalization())
    schedule = callbacks.SparsestmaxRadius(5)
    with pytest.raises(ValueError, match="the model has none"):
        model.fit(*data(), callbacks=[schedule], **FIT)
