"""Ada normalization: its bracket is a constant to the gradient."""

import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import AdaNormalization

SHAPE = (6, 4, 3, 8)


def data(seed=0):
    return np.random.default_rng(seed).normal(1, 2, SHAPE).astype("float32")


def standardized(x, axes):
    x = x.astype("float64")
    mean = np.mean(x, axis=axes, keepdims=True)
    deviation = np.std(x, axis=axes, keepdims=True, ddof=1)
    return (x - mean) / (deviation + 1e-5)


@pytest.mark.parametrize("axis", [-1, (1, 2, 3)])
def test_formula(axis):
    x = data()
    h = standardized(x, axis)
    layer = AdaNormalization(axis, multiplier=2.0, k=0.2)
    close(numpy(layer(x)), 2.0 * (1 - 0.2 * h) * h, entries=96)
    plain = AdaNormalization(axis, k=0)
    close(numpy(plain(x)), h, entries=96)


def test_gradient_is_that_of_a_scaled_upstream():
    x, upstream = data(), data(1)
    bracket = 1.5 * (1 - 0.3 * standardized(x, -1))
    ours = gradients(AdaNormalization(multiplier=1.5, k=0.3), [x], upstream)
    scaled = (bracket * upstream).astype("float32")
    plain = gradients(AdaNormalization(k=0), [x], scaled)
    close(ours.inputs[0], plain.inputs[0], entries=8)


def test_one_entry_is_its_own_mean():
    x = data()[..., :1]
    np.testing.assert_array_equal(numpy(AdaNormalization()(x)), 0 * x)


@pytest.mark.parametrize("name", ["multiplier", "k"])
@pytest.mark.parametrize("value", ["1", None, True, float("nan")])
def test_factors_must_be_numbers(name, value):
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        AdaNormalization(**{name: value})
