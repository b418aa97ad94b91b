"""Inverse square roots: values, gradients of both orders, hard matrices.

Tolerances: an eigenvalue of S carries an absolute error of about 2^-23 times
the largest, so W of condition number k has a relative error of k 2^-23 and the
gradient one of k^1.5 2^-23 or so; `LOSS` is the margin for the products.
"""

import keras
import numpy as np
import pytest

from functions import Primitive
from functions import differences
from gradients import gradients
from gradients import second_derivative
from keras_norm import ops as kn_ops
from keras_norm.ops import matrix_roots
from keras_norm.ops import spectra

RESOLUTION = 2.0**-23
LOSS = 30.0
EIGENVALUES = {
    "distinct": [3.0, 2.0, 1.2, 0.7, 0.3],
    "pairs": [2.0, 2.0, 1.0, 1.0, 0.5],
    "all equal": [1.0, 1.0, 1.0, 1.0, 1.0],
    "condition 1e3": [10.0, 3.0, 1.0, 0.1, 0.01],
}


def matrix(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues, float64."""
    d = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return (q * np.asarray(eigenvalues)) @ q.T


def symmetric(t):
    return 0.5 * (t + np.swapaxes(t, -1, -2))


def power(s, exponent):
    values, vectors = np.linalg.eigh(symmetric(s))
    powers = values[..., None, :] ** exponent
    return (vectors * powers) @ np.swapaxes(vectors, -1, -2)


def inverse_cholesky(s):
    return np.linalg.inv(np.linalg.cholesky(symmetric(s)))


def own(method):
    return lambda s: kn_ops.inverse_square_root(s, method, iterations=25)


REFERENCES = {
    "eigh": lambda s: power(s, -0.5),
    "newton": lambda s: power(s, -0.5),
    "cholesky": inverse_cholesky,
}
METHODS = list(REFERENCES)


def error(found, wanted):
    """Largest error of an array, relative to its largest entry."""
    return np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))


@pytest.mark.parametrize("method", METHODS)
def test_whitens_batches_of_matrices(method):
    s = np.stack([matrix(e) for e in EIGENVALUES.values()])[None]
    w = keras.ops.convert_to_numpy(own(method)(s.astype("float32")))
    assert w.shape == (1, 4, 5, 5)
    for found, e in zip(w[0], EIGENVALUES.values(), strict=True):
        wanted = REFERENCES[method](matrix(e))
        condition = max(e) / min(e)
        assert error(found, wanted) < LOSS * RESOLUTION * condition
        white = found @ matrix(e) @ found.T
        assert error(white, np.eye(5)) < 2 * LOSS * RESOLUTION * condition


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("eigenvalues", EIGENVALUES)
def test_gradient(method, eigenvalues, jit):
    s = np.stack([matrix(EIGENVALUES[eigenvalues]), matrix([5, 4, 3, 2, 1])])
    upstream = np.random.default_rng(1).normal(size=s.shape)
    found = gradients(
        Primitive(own(method)), [[s.astype("float32")]], upstream, jit=jit
    ).inputs[0][0]
    wanted = differences(REFERENCES[method], [s], upstream)[0]
    e = EIGENVALUES[eigenvalues]
    condition = max(e) / min(e)
    bound = LOSS * RESOLUTION * condition**1.5
    # Half of what a triangle misses may lie in the other one.
    assert error(symmetric(found), symmetric(wanted)) < bound


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("eigenvalues", ["distinct", "pairs", "all equal"])
def test_second_derivative(method, eigenvalues):
    s = matrix(EIGENVALUES[eigenvalues])
    rng = np.random.default_rng(2)
    upstream, direction = symmetric(rng.normal(size=(2, 5, 5)))
    found = second_derivative(own(method), s, upstream, direction)

    def slope(s):
        ends = [REFERENCES[method](s + h * direction) for h in (1e-4, -1e-4)]
        return np.sum((ends[0] - ends[1]) * upstream, keepdims=True) / 2e-4

    wanted = differences(slope, [s], np.ones((1, 1)))[0]
    e = EIGENVALUES[eigenvalues]
    bound = LOSS * RESOLUTION * (max(e) / min(e)) ** 2.5 + 1e-4
    assert error(symmetric(found), symmetric(wanted)) < bound


def test_square_root():
    s = matrix(EIGENVALUES["pairs"])
    upstream = np.random.default_rng(1).normal(size=s.shape)
    layer = Primitive(spectra.square_root)
    found = gradients(layer, [[s.astype("float32")]], upstream)
    assert error(found.outputs, power(s, 0.5)) < LOSS * RESOLUTION
    wanted = differences(lambda s: power(s, 0.5), [s], upstream)[0]
    bound = LOSS * RESOLUTION * 4
    assert error(found.inputs[0][0], symmetric(wanted)) < bound
    # The square root is homogeneous of degree 1/2, its derivative of -1/2:
    # along S itself it changes by -1/2 of itself, but for the term S brings.
    along = second_derivative(spectra.square_root, s, symmetric(upstream), s)
    assert error(along, -0.5 * symmetric(wanted)) < bound


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [0, 2])
def test_singular_matrices_with_epsilon(method, rank):
    rng = np.random.default_rng(3)
    half = rng.normal(size=(5, rank))
    s = (half @ half.T).astype("float32")
    found = gradients(
        Primitive(lambda s: kn_ops.inverse_square_root(s, method, 1e-3, 30)),
        [[s]],
        rng.normal(size=(5, 5)),
    )
    wanted = REFERENCES[method](s.astype("float64") + 1e-3 * np.eye(5))
    condition = (np.linalg.norm(s, 2) + 1e-3) / 1e-3
    assert error(found.outputs, wanted) < LOSS * RESOLUTION * condition
    assert np.all(np.isfinite(found.inputs[0][0]))


@pytest.mark.parametrize("scaling", ["trace", "frobenius"])
@pytest.mark.parametrize("condition", [1e1, 1e2, 1e4])
@pytest.mark.parametrize("d", [4, 64])
def test_newton_descends_to_the_floor_and_stays_there(d, condition, scaling):
    s = matrix(np.geomspace(1.0, 1.0 / condition, d))
    wanted = power(s, -0.5)
    floor = LOSS * RESOLUTION * condition
    # One run of 50 steps: every step's iterate is an output.
    errors = []
    y = s.astype("float32")
    for steps in (1, 2, 3, 5, 8, 12, 16, 20, 30, 50):
        w = matrix_roots.newton_roots(
            keras.ops.convert_to_tensor(y), steps, scaling
        )[1]
        errors.append(error(keras.ops.convert_to_numpy(w), wanted))
    for before, after in zip(errors, errors[1:], strict=False):
        assert after < max(before, floor)
    assert errors[-1] < floor and errors[-2] < floor
    if condition == 1e4:
        assert errors[7] < 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_computed_in_float32(method, dtype):
    s = keras.ops.cast(np.diag([4.0, 1.0, 0.25]).astype("float32"), dtype)
    w = own(method)(s)
    assert keras.backend.standardize_dtype(w.dtype) == "float32"
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(w), np.diag([0.5, 1.0, 2.0]), atol=1e-5
    )


@pytest.mark.parametrize("scaled", [True, False])
def test_principal_axes(scaled):
    values = [3.0, 2.0, 1.2, 0.7, 0.3]
    s = matrix(values)

    def reference(s):
        values, vectors = np.linalg.eigh(symmetric(s))
        values, vectors = values[::-1], vectors[:, ::-1]
        largest = np.argmax(np.abs(vectors), axis=0)
        vectors = vectors * np.sign(vectors[largest, np.arange(5)])
        rows = vectors.T
        return rows / np.sqrt(values)[:, None] if scaled else rows

    upstream = np.random.default_rng(1).normal(size=s.shape)
    layer = Primitive(lambda s: spectra.principal_axes(s, scaled))
    found = gradients(layer, [[s.astype("float32")]], upstream)
    # Gaps of 0.4 between eigenvalues of at most 3.
    bound = LOSS * RESOLUTION * 10 / 0.4
    assert error(found.outputs, reference(s)) < bound
    wanted = differences(reference, [s], upstream)[0]
    assert error(found.inputs[0][0], symmetric(wanted)) < bound * 10


@pytest.mark.parametrize("eigenvalues", ["pairs", "all equal"])
def test_principal_axes_of_equal_eigenvalues_have_a_finite_gradient(
    eigenvalues,
):
    s = matrix(EIGENVALUES[eigenvalues]).astype("float32")
    found = gradients(Primitive(spectra.principal_axes), [[s]], np.ones((5, 5)))
    assert np.all(np.isfinite(found.inputs[0][0]))


@pytest.mark.parametrize(
    "arguments,name",
    [
        (dict(s=np.eye(2), method="svd"), "`method`"),
        (dict(s=np.eye(2), method="newton", scaling="norm"), "`scaling`"),
        (dict(s=np.ones((2, 3))), "`s`"),
        (dict(s=np.ones(3)), "`s`"),
    ],
    ids=lambda a: a if isinstance(a, str) else "",
)
def test_errors(arguments, name):
    with pytest.raises(ValueError, match=name):
        kn_ops.inverse_square_root(**arguments)
