"""The map of self-normalizing networks against its definition."""

import numpy as np
import pytest

import keras_norm as kn

pytestmark = pytest.mark.once

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805


def selu(x, alpha=ALPHA, scale=SCALE):
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def definition(mean, variance, *constants):
    """By Gauss-Legendre quadrature below and above 0."""
    s = np.sqrt(variance)
    ends = mean + s * np.linspace(-12, 12, 49)
    ends = np.unique([*ends, *([0.0] if ends[0] < 0 < ends[-1] else [])])
    x, w = np.polynomial.legendre.leggauss(40)
    half = np.diff(ends)[:, None] / 2
    z = ends[:-1, None] + half * (1 + x)
    w = w * half * np.exp(-((z - mean) ** 2) / (2 * variance))
    w = w / (s * np.sqrt(2 * np.pi))
    y = selu(z, *constants)
    first = np.sum(w * y)
    return first, np.sum(w * (y - first) ** 2)


@pytest.mark.parametrize(
    "mean, variance",
    [
        (0.0, 1.0),
        (0.1, 1.5),
        (-3.0, 0.2),
        (2.0, 0.01),
        (-10.0, 4.0),
        (20.0, 9.0),
        (0.0, 50.0),
        (-1.0, 100.0),
    ],
)
def test_is_its_definition(mean, variance):
    found = kn.analysis.self_normalizing_map(mean, variance, omega=1.0)
    expected = definition(mean, variance)
    assert abs(found.mean - expected[0]) <= 1e-10 * max(1, abs(mean))
    assert abs(found.variance - expected[1]) <= 1e-9 * max(1, mean**2, variance)


def test_weights_and_constants():
    found = kn.analysis.self_normalizing_map(
        0.4, 1.2, omega=0.5, tau=2.0, alpha=1.0, scale=1.0
    )
    assert np.allclose(found, definition(0.2, 2.4, 1.0, 1.0), atol=1e-10)


def test_fixed_point_attracts():
    def step(state):
        return np.array(kn.analysis.self_normalizing_map(*state))

    assert np.abs(step((0.0, 1.0)) - (0, 1)).max() <= 1e-12
    # With centred weights the mean before does not matter, and the slope of
    # the variance is below 1.
    h = 1e-5
    slope = (step((0, 1 + h)) - step((0, 1 - h))) / (2 * h)
    assert 0 < slope[1] < 1
    state = np.array([0.1, 1.5])
    for _ in range(100):
        state = step(state)
    assert np.abs(state - (0, 1)).max() <= 1e-9

    # Also where weights have a sum, by the spectral norm of the Jacobian.
    def with_sum(mean, variance):
        return np.array(
            kn.analysis.self_normalizing_map(mean, variance, omega=0.1)
        )

    jacobian = np.stack(
        [
            (with_sum(h, 1) - with_sum(-h, 1)) / (2 * h),
            (with_sum(0, 1 + h) - with_sum(0, 1 - h)) / (2 * h),
        ],
        axis=1,
    )
    assert np.linalg.norm(jacobian, 2) < 1


def test_arrays_and_no_variance():
    x = np.linspace(-3, 3, 7)
    found = kn.analysis.self_normalizing_map(x, 0.0, omega=1.0)
    assert np.abs(found.mean - selu(x)).max() <= 1e-15
    assert np.array_equal(found.variance, np.zeros(7))
    found = kn.analysis.self_normalizing_map(x, np.full(7, 0.3), omega=1.0)
    for i in range(7):
        one = kn.analysis.self_normalizing_map(x[i], 0.3, omega=1.0)
        assert np.array_equal([found.mean[i], found.variance[i]], one)


def test_of_layers_whose_weights_are_centred():
    # Any centred kernel of length 1: omega 0, tau 1, the fixed point.
    rng = np.random.default_rng(0)
    n = 20000
    w = rng.normal(size=(64, 8))
    w = w - w.mean(0)
    w = w / np.linalg.norm(w, axis=0)
    y = selu(rng.normal(0.7, 1, (n, 64)) @ w)
    # The mean of the inputs does not come through. Five standard errors; the
    # kurtosis is below 9.
    assert np.abs(y.mean(0)).max() <= 5 / np.sqrt(n)
    assert np.abs(y.var(0) - 1).max() <= 5 * np.sqrt(8 / n)


def test_errors():
    with pytest.raises(ValueError, match="`variance` and `tau`.*Received"):
        kn.analysis.self_normalizing_map(0.0, -1.0)
