"""The primitives that touch the data: values and analytic gradients.

Each gradient is compared with central differences of the same map written in
float64 NumPy, since finite differences in float32 say little.
"""

import numpy as np
import pytest
from keras import ops

from functions import Primitive
from functions import differences
from gradients import gradients
from keras_norm.core import moments
from keras_norm.core import positions
from keras_norm.core import primitives


def check(function, reference, inputs, jit=False):
    """Value and gradient of a function of tensors against NumPy."""
    inputs = [np.asarray(i, "float32") for i in inputs]
    wanted = reference(*(i.astype("float64") for i in inputs))
    upstream = np.random.default_rng(5).normal(size=wanted.shape)
    found = gradients(Primitive(function), [inputs], upstream, jit=jit)
    np.testing.assert_allclose(found.outputs, wanted, rtol=2e-5, atol=2e-5)
    expected = differences(reference, inputs, upstream)
    for value, e in zip(found.inputs[0], expected, strict=True):
        np.testing.assert_allclose(value, e, rtol=1e-4, atol=1e-4)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("axes", [(1, 2), (2, 3), (1,)])
def test_raw_moments(axes):
    def reference(d):
        return np.stack([d.mean(axes), (d**2).mean(axes)])

    check(
        lambda d: primitives.raw_moments(d, axes),
        reference,
        [numbers(2, 3, 4, 2)],
    )


AFFINE = [(2, 1, 1, 2), (1, 1, 1, 2), (2, 3, 1, 1), (1, 1, 1, 1)]


@pytest.mark.parametrize("shape", AFFINE)
def test_affine(shape):
    def reference(d, scale, offset):
        return d * scale + offset

    inputs = [numbers(2, 3, 4, 2), numbers(*shape), numbers(*shape, seed=1)]
    check(primitives.affine, reference, inputs)


POSITIONS = [
    ((2,), (1, 1, 4)),
    ((1,), (1, 3, 1)),
    ((1, 2), (1, 3, 4)),
    # gamma over other axes than those of the statistics.
    ((2,), (1, 3, 1)),
]


def standardize(axes, centred):
    """The map at each position and its definition."""

    def own(d, gamma, beta):
        return positions.standardized(d, gamma, beta, axes, 1e-3, centred)

    def reference(d, gamma, beta):
        c = d - d.mean(axes, keepdims=True) if centred else d
        variance = (c**2).mean(axes, keepdims=True)
        return c / np.sqrt(variance + 1e-3) * gamma + beta

    return own, reference


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("axes", "shape"), POSITIONS)
def test_standardize_at_each_position(axes, shape, centred):
    inputs = [numbers(2, 3, 4), 1 + numbers(*shape), numbers(*shape, seed=1)]
    check(*standardize(axes, centred), inputs)


@pytest.mark.compile
def test_primitives_compile():
    """Their gradients too: Keras' custom gradients are easily lost there."""

    def reference(d, scale, offset):
        mean = d.mean((1, 2))
        return np.stack([mean, (d**2).mean((1, 2))]) + (
            (d * scale + offset).sum((1, 2))
        )

    def own(d, scale, offset):
        y = primitives.affine(d, scale, offset)
        return primitives.raw_moments(d, (1, 2)) + ops.sum(y, axis=(1, 2))

    inputs = [numbers(2, 3, 4, 2), numbers(2, 1, 1, 2), numbers(2, 1, 1, 2)]
    check(own, reference, inputs, jit=True)
    inputs = [numbers(2, 3, 4), numbers(1, 1, 4), numbers(1, 1, 4, seed=1)]
    check(*standardize((2,), True), inputs, jit=True)


def test_gradient_through_the_table_is_that_of_its_definition():
    """Moments of instances to variance of the batch: nothing is lost."""

    def own(x):
        table = moments.measure(x)
        relative = table.pivot + table.mean
        mean = ops.mean(relative, axis=0)
        return ops.mean(table.variance + ops.square(relative - mean), axis=0)

    def reference(x):
        return x.var((0, 1))

    check(own, reference, [numbers(3, 5, 2)])


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_through_the_masked_table(weighted):
    w = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], "float32")
    if weighted:
        w = w * np.array([1.0, 2.0, 1.0, 0.5, 3.0], "float32")

    def own(x):
        table = moments.measure(x, mask=w)
        return ops.stack([table.pivot + table.mean, table.variance])

    def reference(x):
        total = np.maximum(w.sum(1), 1e-12)[:, None]
        mean = (w[..., None] * x).sum(1) / total
        square = (x - mean[:, None]) ** 2
        return np.stack([mean, (w[..., None] * square).sum(1) / total])

    x = numbers(3, 5, 2)
    found = gradients(
        Primitive(own), [[x.astype("float32")]], np.ones((2, 3, 2))
    )
    expected = differences(reference, [x], np.ones((2, 3, 2)))
    np.testing.assert_allclose(
        found.inputs[0][0], expected[0], rtol=1e-4, atol=1e-5
    )
    assert not found.inputs[0][0][w == 0].any()


# The pivot ------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 56])
def test_pivot_is_the_median_of_three_interior_entries(size):
    x = numbers(2, size, 3).astype("float32")
    pivot = moments.pivot_of(ops.convert_to_tensor(x), (1,))
    entries = [x[:, size * q // 4] for q in (1, 2, 3)]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(pivot), np.median(entries, axis=0)
    )


def test_pivot_of_nothing_is_zero():
    x = ops.zeros((2, 0, 3))
    pivot = ops.convert_to_numpy(moments.pivot_of(x, (1,)))
    np.testing.assert_array_equal(pivot, np.zeros((2, 3)))


HARD = {
    "standard": lambda x: x,
    "large mean": lambda x: x + 1e4,
    "larger mean": lambda x: x + 1e6,
    "first entry is an outlier": lambda x: np.where(first(x), 50.0, x),
    "first entry is zero": lambda x: np.where(first(x), 0.0, x + 1e3),
    "border of zeros": lambda x: np.where(border(x), 0.0, x + 1e3),
}


def first(x):
    p = np.indices(x.shape)
    return (p[1] == 0) & (p[2] == 0)


def border(x):
    p = np.indices(x.shape)
    return (p[1] == 0) | (p[2] == 0)


@pytest.mark.parametrize("kind", HARD)
def test_moments_of_hard_inputs(kind):
    """Variance to 1e-5, mean to 1e-5 deviations, whatever the mean is."""
    x = HARD[kind](numbers(2, 56, 56, 3)).astype("float32")
    table = moments.measure(ops.convert_to_tensor(x))
    exact = x.astype("float64")
    pivot = ops.convert_to_numpy(table.pivot).astype("float64")
    mean = pivot + ops.convert_to_numpy(table.mean)
    variance = ops.convert_to_numpy(table.variance)
    deviation = exact.std((1, 2))
    np.testing.assert_allclose(variance, deviation**2, rtol=2e-5)
    error = np.abs(mean - exact.mean((1, 2))) / deviation
    assert error.max() < 1e-5
