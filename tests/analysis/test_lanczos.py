"""Eigenvalues from products, of matrices that are known."""

import numpy as np
import pytest

from keras_norm.analysis import lanczos

pytestmark = pytest.mark.once


def matrix(eigenvalues):
    rng = np.random.default_rng(0)
    size = len(eigenvalues)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return (basis * eigenvalues) @ basis.T


def found(function, eigenvalues, count, steps=200, tolerance=1e-6):
    a = matrix(np.asarray(eigenvalues, "float64"))
    rng = np.random.default_rng(1)
    return function(lambda v: a @ v, len(a), count, steps, tolerance, rng)


@pytest.mark.parametrize("function", [lanczos.lanczos, lanczos.power_iteration])
def test_largest_magnitudes(function):
    rest = np.linspace(-1, 1, 37)
    values, residuals = found(function, [*rest, 5, -4, 3], 3, 500)
    np.testing.assert_allclose(values, [5, -4, 3], atol=2e-5)
    assert np.all(residuals <= 1e-6 * 5)


def test_power_iteration_finds_equal_ones():
    values, _ = found(lanczos.power_iteration, [2, 2, 1, 0.5], 3)
    np.testing.assert_allclose(values, [2, 2, 1], atol=1e-5)


def test_all_of_them_where_the_first_space_is_small():
    """Two eigenvalues end Lanczos after two steps: it starts again."""
    values, residuals = found(lanczos.lanczos, [3.0] * 4 + [1.0] * 2, 6)
    np.testing.assert_allclose(values, [3, 3, 3, 3, 1, 1], atol=1e-9)
    assert np.all(residuals == 0)


@pytest.mark.parametrize("function", [lanczos.lanczos, lanczos.power_iteration])
def test_the_matrix_0(function):
    values, residuals = found(function, np.zeros(5), 2)
    assert len(values) == 2
    assert not np.any(values) and not np.any(residuals)


def test_residuals_of_few_steps():
    """They say how near an eigenvalue is."""
    eigenvalues = np.linspace(0.5, 3, 40)
    values, residuals = found(lanczos.lanczos, eigenvalues, 1, 8, 0.0)
    assert residuals[0] > 1e-3
    assert np.min(np.abs(eigenvalues - values[0])) <= residuals[0]


def test_quadrature_keeps_moments():
    """m nodes: exact for powers up to 2 m - 1."""
    a = matrix(np.linspace(-1, 2, 20))
    starts = np.random.default_rng(2).normal(size=(3, 20))
    nodes, weights = lanczos.quadrature(lambda v: a @ v, starts, 4)
    assert nodes.shape == weights.shape == (3, 4)
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, atol=1e-12)
    for start, node, weight in zip(starts, nodes, weights, strict=True):
        start = start / np.linalg.norm(start)
        for power in range(1, 8):
            expected = start @ np.linalg.matrix_power(a, power) @ start
            assert abs(weight @ node**power - expected) <= 1e-10


def test_quadrature_of_a_small_space():
    a = matrix([1.0] * 3 + [2.0] * 3)
    nodes, weights = lanczos.quadrature(lambda v: a @ v, np.ones((1, 6)), 5)
    assert np.sum(weights > 0) == 2
    np.testing.assert_allclose(np.sort(nodes[weights > 0]), [1, 2], atol=1e-9)
