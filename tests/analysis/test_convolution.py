"""Singular values of convolutions against their matrices."""

import numpy as np
import pytest

import keras_norm as kn

pytestmark = pytest.mark.once


def matrix(kernel, size):
    """The matrix of the circular convolution, column by column."""
    *taps, inputs, outputs = kernel.shape
    columns = []
    for where in np.ndindex(*size, inputs):
        x = np.zeros((*size, inputs))
        x[where] = 1
        y = np.zeros((*size, outputs))
        for place in np.ndindex(*size):
            for tap in np.ndindex(*taps):
                seen = tuple(
                    (p + t) % n
                    for p, t, n in zip(place, tap, size, strict=True)
                )
                y[place] += x[seen] @ kernel[tap]
        columns.append(y.ravel())
    return np.stack(columns, 1)


def random(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    "shape, size",
    [
        ((3, 3, 2, 4), (5, 4)),
        ((2, 3, 4, 2), (3, 3)),
        ((3, 2, 3), (7,)),
        ((2, 2, 2, 1, 2), (2, 3, 2)),
    ],
)
def test_values_are_those_of_the_matrix(shape, size):
    kernel = random(*shape)
    found = kn.analysis.convolution_singular_values(kernel, size)
    assert found.shape == (*size, min(shape[-2:]))
    assert np.all(np.diff(found, axis=-1) <= 0)
    expected = np.linalg.svd(matrix(kernel, size), compute_uv=False)
    expected = expected[expected > 1e-12]
    assert np.abs(np.sort(found.ravel())[::-1] - expected).max() <= 1e-10


def test_bounds_by_the_reshaped_kernel():
    kernel = random(3, 3, 4, 5)
    exact = kn.analysis.convolution_singular_values(kernel, 8).max()
    reshaped = np.linalg.norm(kernel.reshape(-1, 5), 2)
    assert reshaped <= exact <= 3 * reshaped


def test_clipping():
    kernel, size = random(3, 3, 2, 4), (3, 3)
    # As large as the input: nothing is cropped.
    clipped = kn.analysis.clip_convolution(kernel, size, 4.0)
    m = matrix(kernel, size)
    u, values, v = np.linalg.svd(m, full_matrices=False)
    assert values.max() > 4
    expected = (u * np.minimum(values, 4.0)) @ v
    assert np.abs(matrix(clipped, size) - expected).max() <= 1e-10
    same = kn.analysis.clip_convolution(kernel, (6, 7), 1e3)
    assert np.abs(same - kernel).max() <= 1e-12


def test_repeated_clipping_comes_to_the_bound():
    kernel = random(3, 3, 2, 4)
    for _ in range(60):
        kernel = kn.analysis.clip_convolution(kernel, 6, 1.0)
    values = kn.analysis.convolution_singular_values(kernel, 6)
    assert 0.9 <= values.max() <= 1.02


def test_errors():
    values = kn.analysis.convolution_singular_values
    with pytest.raises(ValueError, match="`input_size`.*Received"):
        values(random(3, 3, 2, 4), (5, 2))
    with pytest.raises(ValueError, match="`input_size`.*Received"):
        values(random(3, 3, 2, 4), (5,))
    with pytest.raises(ValueError, match="`kernel`.*Received"):
        values(random(3, 4), 5)
    with pytest.raises(ValueError, match="`bound`.*Received"):
        kn.analysis.clip_convolution(random(3, 3, 2, 4), 5, -1.0)
