"""Power iteration against NumPy's singular values."""

import keras
import numpy as np
import pytest

from functions import Primitive
from gradients import gradients
from keras_norm import ops as kn_ops

# 30 iterations of a gap of 2 leave 2^-60; what is left is rounding.
TOLERANCE = 1e-5


def matrices(*batch):
    """Matrices (..., 4, 3) with singular values 2, 1, 0.5."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(*batch, 4, 4)))[0][..., :3]
    v = np.linalg.qr(rng.normal(size=(*batch, 3, 3)))[0]
    a = (u * np.array([2.0, 1.0, 0.5])) @ np.swapaxes(v, -1, -2)
    return a.astype("float32"), u[..., 0], v[..., 0]


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_converges_to_the_largest_singular_value(batch):
    a, u, v = matrices(*batch)
    start = np.ones((*batch, 4), "float32")
    found = kn_ops.power_iteration(a, start, iterations=30)
    sigma, left, right = (keras.ops.convert_to_numpy(t) for t in found)
    np.testing.assert_allclose(sigma, np.full(batch, 2.0), rtol=TOLERANCE)
    sign = np.sign(np.sum(left * u, -1, keepdims=True))
    np.testing.assert_allclose(sign * left, u, atol=TOLERANCE)
    np.testing.assert_allclose(sign * right, v, atol=TOLERANCE)


@pytest.mark.parametrize("jit", [False, True])
def test_gradient_is_that_of_the_singular_value(jit):
    a, u, v = matrices()
    # A tensor: PyTorch's compiler breaks its graph at NumPy arrays.
    start = keras.ops.ones(4)

    def sigma(a):
        return kn_ops.power_iteration(a, start, 30)[0]

    found = gradients(Primitive(sigma), [[a]], np.ones(()), jit=jit)
    np.testing.assert_allclose(
        found.inputs[0][0], np.outer(u, v), atol=TOLERANCE
    )


def test_gradient_after_one_iteration_takes_the_vectors_as_constant():
    a, _, _ = matrices()
    start = np.array([1.0, -1.0, 0.5, 2.0])
    v = a.T @ start
    v /= np.linalg.norm(v)
    u = a @ v
    u /= np.linalg.norm(u)
    layer = Primitive(
        lambda a: kn_ops.power_iteration(a, start.astype("float32"))[0]
    )
    found = gradients(layer, [[a]], np.ones(()))
    np.testing.assert_allclose(found.outputs, u @ a @ v, rtol=TOLERANCE)
    np.testing.assert_allclose(
        found.inputs[0][0], np.outer(u, v), atol=TOLERANCE
    )


def test_no_iteration_keeps_the_vector():
    a, _, _ = matrices()
    start = np.array([0.6, 0.0, 0.8, 0.0], "float32")
    sigma, u, v = kn_ops.power_iteration(a, start, iterations=0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(u), start)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(sigma),
        np.linalg.norm(a.T @ start),
        rtol=TOLERANCE,
    )
    norm = np.linalg.norm(keras.ops.convert_to_numpy(v))
    np.testing.assert_allclose(norm, 1.0, rtol=TOLERANCE)


def test_zero_matrix():
    layer = Primitive(
        lambda a: kn_ops.power_iteration(a, np.ones(4, "float32"))[0]
    )
    found = gradients(layer, [[np.zeros((4, 3), "float32")]], np.ones(()))
    assert found.outputs == 0
    assert np.all(np.isfinite(found.inputs[0][0]))


@pytest.mark.parametrize(
    "arguments,name",
    [
        (dict(iterations=-1), "`iterations`"),
        (dict(iterations=1.5), "`iterations`"),
        (dict(vector=np.ones(3, "float32")), "`vector`"),
    ],
    ids=["negative", "fraction", "shape"],
)
def test_errors(arguments, name):
    given = {"matrix": matrices()[0], "vector": np.ones(4, "float32")}
    with pytest.raises(ValueError, match=name):
        kn_ops.power_iteration(**{**given, **arguments})
