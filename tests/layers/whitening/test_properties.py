"""Whitening by batches on cases that nobody chose, against its definition.

Cases come from hypothesis, the same ones every time; the definition is NumPy
in float64: the covariance of the entries that the mask leaves, group by group,
and the matrix whose square (or whose Cholesky factor) is its inverse.
"""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import keras_norm as kn

FAST = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
THOROUGH = settings(FAST, max_examples=300)
EPSILON = 1e-2
# Newton's coupled steps, of which 30 converge for these conditions.
OPERATIONS = {
    "zca": lambda size: kn.operations.ZCA(size),
    "cholesky": lambda size: kn.operations.Cholesky(size),
    "newton": lambda size: kn.operations.Newton(size, iterations=30),
}


@dataclasses.dataclass(frozen=True)
class Case:
    shape: tuple
    group_size: int
    operation: str
    mask: str
    mean: float
    spread: float
    channels_first: bool
    seed: int


@st.composite
def cases(draw):
    """Any case; few shapes, since JAX compiles for each."""
    shape = draw(st.sampled_from([(6, 5, 4), (4, 3, 3, 6), (9, 5)]))
    return Case(
        shape,
        draw(st.integers(1, shape[-1] + 1)),
        draw(st.sampled_from(sorted(OPERATIONS))),
        draw(st.sampled_from(["none", "samples", "entries", "weights"])),
        draw(st.sampled_from([0.0, 3.0, 1e4])),
        draw(st.sampled_from([1.0, 0.05, 20.0])),
        draw(st.booleans()),
        draw(st.integers(0, 2**16)),
    )


def inputs(case):
    """(x, mask or None), channels last; channels are correlated."""
    rng = np.random.default_rng(case.seed)
    channels = case.shape[-1]
    mix = np.eye(channels) + 0.4 * rng.standard_normal((channels, channels))
    x = case.spread * rng.standard_normal(case.shape) @ mix + case.mean
    mask = None
    if case.mask == "samples":
        mask = np.arange(case.shape[0]) < case.shape[0] - 1
    elif case.mask == "entries":
        mask = rng.random(case.shape[:-1]) < 0.8
        mask.flat[0] = True
    elif case.mask == "weights":
        mask = rng.uniform(0.2, 2.0, case.shape[:-1]).astype("float32")
    return x.astype("float32"), mask


def matrix(covariance, operation):
    """What whitens data of this covariance."""
    s = covariance + EPSILON * np.eye(len(covariance))
    if operation == "cholesky":
        return np.linalg.inv(np.linalg.cholesky(s))
    values, vectors = np.linalg.eigh(s)
    return vectors / np.sqrt(values) @ vectors.T


def definition(x, mask, group_size, operation):
    """The whitened data, and the condition number of the covariances."""
    x = x.astype("float64")
    weights = np.ones(x.shape[:-1])
    if mask is not None:
        mask = np.asarray(mask, "float64")
        shape = mask.shape + (1,) * (weights.ndim - mask.ndim)
        weights = weights * mask.reshape(shape)
    rows, w = x.reshape(-1, x.shape[-1]), weights.reshape(-1, 1)
    mean = (w * rows).sum(0) / w.sum()
    centred, y, condition = rows - mean, np.empty_like(rows), 1.0
    for start in range(0, rows.shape[1], group_size):
        part = centred[:, start : start + group_size]
        covariance = part.T @ (w * part) / w.sum()
        whitening = matrix(covariance, operation)
        y[:, start : start + group_size] = part @ whitening.T
        values = np.linalg.eigvalsh(
            covariance + EPSILON * np.eye(part.shape[1])
        )
        condition = max(condition, values[-1] / values[0])
    return y.reshape(x.shape), condition


def check(case):
    x, mask = inputs(case)
    expected, condition = definition(x, mask, case.group_size, case.operation)
    axis = 1 if case.channels_first and x.ndim > 2 else -1
    layer = kn.layers.ComposedNormalization(
        axis=axis,
        operation=OPERATIONS[case.operation](case.group_size),
        epsilon=EPSILON,
        center=False,
        scale=False,
    )
    given_x = np.moveaxis(x, -1, 1) if axis == 1 else x
    if mask is not None and axis == 1 and mask.ndim > 1:
        # A mask belongs to the leading axes: the channels come second.
        mask = mask[:, None]
    y = keras.ops.convert_to_numpy(layer(given_x, training=True, mask=mask))
    y = np.moveaxis(y, 1, -1) if axis == 1 else y
    # float32 data far from zero are what they are; what is left is the root
    # of a matrix of this condition, and the rounding of the data's spread.
    tolerance = 2e-6 * condition**0.5 * max(1.0, np.abs(expected).max())
    tolerance *= 4 if case.operation == "newton" else 1
    assert np.abs(y - expected).max() <= 1e-5 + 4 * tolerance


@FAST
@given(cases())
def test_whitening_is_its_definition(case):
    check(case)


@pytest.mark.all
@THOROUGH
@given(cases())
def test_whitening_is_its_definition_thoroughly(case):
    check(case)
