"""SparsestMax: properties, ties, gradients by differences, arguments."""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from functions import Primitive
from functions import differences
from gradients import gradients
from keras_norm import ops

# Rows of logits, of which the last are equal.
Z = np.random.default_rng(0).normal(0.0, 0.5, (6, 4))
Z[-1] = 3.0


def run(z, radius, **options):
    z = keras.ops.convert_to_tensor(z.astype("float32"))
    return keras.ops.convert_to_numpy(ops.sparsestmax(z, radius, **options))


def sparsemax(z):
    """The point of the simplex next to z, by bisection of the threshold."""
    low, high = np.min(z) - 1.0, np.max(z)
    for _ in range(100):
        middle = (low + high) / 2
        total = np.sum(np.maximum(z - middle, 0.0))
        low, high = (middle, high) if total > 1.0 else (low, middle)
    return np.maximum(z - low, 0.0)


def sparsestmax(z, radius, before=None):
    """The recursion of the paper, of one row."""
    p = sparsemax(z)
    member = p > 1e-9
    uniform = member / member.sum()
    if before is not None:
        radius = np.sqrt(max(radius**2 - np.sum((uniform - before) ** 2), 0.0))
    distance = np.linalg.norm(p - uniform)
    if member.sum() == 1 or distance >= radius or distance < 1e-9:
        return p
    p = uniform + radius * (p - uniform) / distance
    return p if p.min() >= 0 else sparsestmax(p, radius, uniform)


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.6, 0.75, 0.9])
def test_value_and_gradient(radius):
    def formula(z):
        return np.stack([sparsestmax(row, radius) for row in z])

    upstream = np.random.default_rng(1).normal(size=Z.shape)
    layer = Primitive(lambda z: ops.sparsestmax(z, radius))
    found = gradients(layer, [[Z.astype("float32")]], upstream)
    close(found.outputs, formula(Z), entries=4)
    # Equal logits have no direction: differences see none, we sparsemax's.
    (wanted,) = differences(formula, [Z[:-1]], upstream[:-1])
    gradient = found.inputs[0][0]
    close(gradient[:-1], wanted, entries=4)
    close(gradient[-1], upstream[-1] - np.mean(upstream[-1]), entries=4)


def test_from_the_vertices_on_it_is_one_hot():
    p = run(Z[:-1], 0.9)
    largest = np.eye(4)[np.argmax(Z[:-1], axis=-1)]
    np.testing.assert_array_equal(p, largest)


def test_it_is_sparse_before():
    # The distance from uniform grows with the radius, until one is left.
    for radius in (0.2, 0.6, 0.8):
        p = run(Z[:-1], radius)
        assert np.all(np.linalg.norm(p - 0.25, axis=-1) >= radius - 1e-6)
    assert np.any(run(Z, 0.8) == 0)


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0])
def test_equal_logits_stay_equal(radius):
    # Even where adding them up would lose the 1.
    for size in (1.0, 1e8):
        z = np.full((2, 3), size)
        np.testing.assert_array_equal(run(z, radius), np.float32(1.0) / 3)
    # Two equal ones that lead.
    p = run(np.array([[2.0, 2.0, 0.0]]), radius)
    np.testing.assert_array_equal(p, [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.7])
def test_nearly_equal_logits(radius):
    # Their difference says where p goes, however small it is.
    z = np.float32([[-0.01070544, -0.01002684], [0.2, 0.2001]])
    z = np.concatenate([z, np.float32([[-2.0], [0.2]])], axis=-1)
    expected = [sparsestmax(row, radius) for row in z.astype("float64")]
    close(run(z, radius), np.stack(expected), entries=3)


def test_axis_and_a_radius_for_each_row():
    radius = np.linspace(0.0, 1.0, 6).astype("float32")
    p = run(Z, radius)
    np.testing.assert_array_equal(run(Z.T, radius, axis=0).T, p)
    for row, r, expected in zip(Z, radius, p, strict=True):
        np.testing.assert_array_equal(run(row, float(r)), expected)


def test_dtypes():
    half = keras.ops.cast(keras.ops.convert_to_tensor(Z), "float16")
    found = ops.sparsestmax(half, 0.5)
    assert keras.backend.standardize_dtype(found.dtype) == "float16"
    close(keras.ops.convert_to_numpy(found), run(Z, 0.5), dtype="float16")
    whole = ops.sparsestmax(np.array([0, 1, 5]))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(whole), [0, 0, 1])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"radius": -0.1}, "`radius` must not be negative"),
        ({"axis": 2}, "`axis` must lie within"),
        ({"axis": None}, "`axis` must be one integer"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ops.sparsestmax(Z, **options)
