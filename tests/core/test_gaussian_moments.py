"""Moments of activations of Gaussian numbers against their definition."""

import keras
import numpy as np
import pytest

from keras_norm.core import gaussian_moments

pytestmark = pytest.mark.once


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


# name: (function, derivative), in float64.
PHI = {
    "linear": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.float64(x > 0)),
    "relu6": (
        lambda x: np.clip(x, 0, 6),
        lambda x: np.float64((x > 0) & (x < 6)),
    ),
    "leaky_relu": (
        lambda x: np.where(x > 0, x, 0.2 * x),
        lambda x: np.where(x > 0, 1, 0.2),
    ),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "hard_sigmoid": (
        lambda x: np.clip(x / 6 + 0.5, 0, 1),
        lambda x: np.float64(np.abs(x) < 3) / 6,
    ),
    "softplus": (lambda x: np.logaddexp(0, x), sigmoid),
    "softsign": (
        lambda x: x / (1 + np.abs(x)),
        lambda x: 1 / (1 + np.abs(x)) ** 2,
    ),
    "elu": (elu, lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0)))),
    "silu": (
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
    ),
    "hard_tanh": (
        lambda x: np.clip(x, -1, 1),
        lambda x: np.float64(np.abs(x) < 1),
    ),
    "soft_shrink": (
        lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
        lambda x: np.float64(np.abs(x) > 0.5),
    ),
}
KINKS = [-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6]
CASES = [
    (0.0, 1.0),
    (0.3, 1e-3),
    (1.3, 0.05),
    (0.49, 0.02),
    (-2.0, 3.0),
    (2.0, 30.0),
    (5.99, 0.02),
    (-8.0, 0.2),
    (30.0, 2.0),
]


def definition(phi, slope, mean, deviation):
    """The three numbers by the rectangle rule between kinks."""
    ends = mean + deviation * np.arange(-12, 13)
    ends = [*ends, *(k for k in KINKS if ends[0] < k < ends[-1])]
    fine = np.linspace(-6, 6, 49)
    ends += [e for e in fine if ends[0] < e < ends[24]]
    x, w = np.polynomial.legendre.leggauss(40)
    ends = np.unique(ends)
    half = np.diff(ends)[:, None] / 2
    z = ends[:-1, None] + half * (1 + x)
    w = w * half * np.exp(-(((z - mean) / deviation) ** 2) / 2)
    w = w / (deviation * np.sqrt(2 * np.pi))
    first = np.sum(w * phi(z))
    variance = np.sum(w * (phi(z) - first) ** 2)
    return first, np.sqrt(variance), np.sqrt(np.sum(w * slope(z) ** 2))


@pytest.mark.parametrize("mean, deviation", CASES)
@pytest.mark.parametrize("name", PHI)
def test_is_its_definition(name, mean, deviation):
    found = gaussian_moments.of(name, mean, deviation)
    first, second, slope = definition(*PHI[name], mean, deviation)
    # The activation is evaluated in float32: values are off by 6e-8 of
    # themselves, slopes by that over a panel half a unit or a deviation wide.
    size = max(1, abs(mean) + deviation)
    slope_error = 1e-5 + 1.2e-7 * abs(mean) / min(deviation, 0.5)
    assert abs(found.mean - first) <= 1e-6 * size
    assert abs(found.deviation - second) <= 5e-6 * deviation * size
    assert abs(found.slope - slope) <= slope_error


def test_closed_forms():
    found = gaussian_moments.of("relu")
    assert abs(found.mean - 1 / np.sqrt(2 * np.pi)) <= 1e-12
    assert abs(found.deviation - np.sqrt((1 - 1 / np.pi) / 2)) <= 1e-12
    assert abs(found.slope - np.sqrt(0.5)) <= 1e-12
    assert all(isinstance(value, float) for value in found)
    # E e^u = e^(m + s^2 / 2), E e^2u = e^(2 m + 2 s^2).
    for m, s in ((0.0, 1.0), (-1.0, 0.1), (0.5, 2.0)):
        found = gaussian_moments.of("exponential", m, s)
        first = np.exp(m + s**2 / 2)
        second = np.sqrt(np.exp(2 * m + 2 * s**2) - first**2)
        assert abs(found.mean / first - 1) <= 1e-6
        assert abs(found.deviation / second - 1) <= 1e-6


def test_arrays_are_as_single_numbers():
    mean = np.array([[0.0, 1.0, -40.0], [0.3, 0.0, 2.0]])
    deviation = np.array([[1.0], [0.2]])
    found = gaussian_moments.of("tanh", mean, deviation)
    for i, j in np.ndindex(2, 3):
        one = gaussian_moments.of("tanh", mean[i, j], deviation[i, 0])
        for several, single in zip(found, one, strict=True):
            assert several.shape == (2, 3)
            assert abs(several[i, j] - single) <= 1e-7


def test_without_deviation_it_is_the_activation():
    x = np.array([-1.3, 0.0, 0.7, 5.0])
    found = gaussian_moments.of("tanh", x, 0.0)
    assert np.abs(found.mean - np.tanh(x)).max() <= 1e-7
    assert np.array_equal(found.deviation, np.zeros(4))
    one = gaussian_moments.of("tanh", 0.7, 0.0)
    assert abs(one.mean - np.tanh(0.7)) <= 1e-7


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_what_mixes_entries_is_refused(name):
    with pytest.raises(ValueError, match="each entry alone.*Received"):
        gaussian_moments.of(name)
    with pytest.raises(ValueError, match="`deviation` must not be negative"):
        gaussian_moments.of("relu", 0.0, -1.0)


def test_functions_and_layers():
    found = gaussian_moments.of(keras.layers.ReLU(max_value=6))
    expected = gaussian_moments.of("relu6")
    assert np.allclose(found, expected, atol=1e-12)
