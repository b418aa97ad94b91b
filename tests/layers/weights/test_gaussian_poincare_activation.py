"""Gaussian-Poincare activations: both second moments are 1."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from gradients import gradients
from layers.weights.kinds import array


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# name: (function, derivative), in float64.
PHI = {
    "linear": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.float64(x > 0)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "softplus": (lambda x: np.logaddexp(0, x), sigmoid),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
    "exponential": (np.exp, np.exp),
    "silu": (
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
    ),
}


def expectation(function):
    """E function(z), z ~ N(0, 1), by the midpoint rule; 0 is an end."""
    z = (np.arange(-120000, 120000) + 0.5) * 1e-4
    return np.sum(function(z) * np.exp(-(z**2) / 2)) * 1e-4 / np.sqrt(2 * np.pi)


@pytest.mark.once
@pytest.mark.parametrize("name", PHI)
def test_second_moments_are_1(name):
    layer = kn.layers.GaussianPoincareActivation(name)
    phi, slope = PHI[name]
    a, b = layer.factor, layer.shift
    assert abs(expectation(lambda z: (a * phi(z) + b) ** 2) - 1) <= 5e-6
    assert abs(expectation(lambda z: (a * slope(z)) ** 2) - 1) <= 5e-6
    # The other root is not smaller.
    other = -2 * a * expectation(phi) - b
    assert abs(b) <= abs(other) + 1e-5


@pytest.mark.once
def test_closed_forms():
    relu = kn.layers.GaussianPoincareActivation("relu")
    assert abs(relu.factor - 2**0.5) <= 1e-6
    assert abs(relu.shift) <= 1e-6
    linear = kn.layers.GaussianPoincareActivation(None)
    assert abs(linear.factor - 1) <= 1e-6
    assert abs(linear.shift) <= 1e-6
    # e^z: E e^2z = e^2, so a = 1 / e, and b = 0 or -2 / sqrt(e).
    exponential = kn.layers.GaussianPoincareActivation("exponential")
    assert abs(exponential.factor - np.exp(-1)) <= 1e-6
    assert abs(exponential.shift) <= 1e-5


@pytest.mark.parametrize("name", ["relu", "tanh", "silu"])
def test_values_and_gradients(name):
    layer = kn.layers.GaussianPoincareActivation(name)
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype("float32")
    upstream = np.random.default_rng(1).normal(size=x.shape)
    phi, slope = PHI[name]
    found = gradients(layer, [x], upstream)
    y = layer.factor * phi(x.astype("float64")) + layer.shift
    dx = layer.factor * slope(x.astype("float64")) * upstream
    assert np.abs(found.outputs - y).max() <= 2e-6
    assert np.abs(found.inputs[0] - dx).max() <= 5e-6


def test_lengths_stay_through_orthogonal_layers():
    # Of bidirectionally self-normalizing networks: 20 layers.
    width, layers = 200, []
    for i in range(20):
        layers.append(
            keras.layers.Dense(
                width,
                kernel_initializer=keras.initializers.Orthogonal(seed=i),
            )
        )
        layers.append(kn.layers.GaussianPoincareActivation("tanh"))
    model = keras.Sequential([keras.Input((width,)), *layers])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, width)).astype("float32")
    upstream = rng.normal(size=x.shape)
    found = gradients(model, [x], upstream)
    # Each layer moves a mean square of 200 entries by some hundredths.
    assert 0.5 <= np.mean(found.outputs**2) <= 2
    assert 0.5 <= np.mean(found.inputs[0] ** 2) <= 2


def test_model_with_half_precision_masks_and_saving(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            keras.layers.Masking(),
            kn.layers.GaussianPoincareActivation(
                "tanh", dtype="mixed_bfloat16"
            ),
            keras.layers.LSTM(2),
        ]
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    x[:, 3:] = 0
    y = array(model(x))
    # The mask has come through: the last steps are not seen.
    assert np.abs(array(model(x[:, :3])) - y).max() <= 1e-6
    inner = model.layers[1](x)
    assert keras.backend.standardize_dtype(inner.dtype) == "bfloat16"
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(array(twin(x)), y)


@pytest.mark.once
def test_errors():
    with pytest.raises(ValueError, match="each entry alone.*Received"):
        kn.layers.GaussianPoincareActivation("softmax")
    with pytest.raises(TypeError, match="has no argument 'activations'"):
        kn.layers.GaussianPoincareActivation("relu", activations="relu")
