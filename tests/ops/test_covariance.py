"""Covariances against NumPy in float64.

Sums of m products round by about sqrt(m) 2^-24 of their size.
"""

import keras
import numpy as np
import pytest

from functions import Primitive
from functions import differences
from gradients import gradients
from keras_norm import ops as kn_ops

TOLERANCE = 2e-5


def data(shift=0.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4, 3, 8)) @ rng.normal(size=(8, 8))
    return (x + shift).astype("float32")


def reference(x, groups=1, weights=None, unbiased=False):
    """(groups, d, d) of channels-last data."""
    rows = np.asarray(x, "float64").reshape(-1, x.shape[-1])
    w = np.ones(len(rows)) if weights is None else weights.reshape(-1)
    rows = np.where(w[:, None] > 0, rows, 0.0)
    total = np.sum(w)
    mean = w @ rows / total
    centred = np.where(w[:, None] > 0, rows - mean, 0.0)
    divisor = total - 1 if unbiased else total
    whole = (w[:, None] * centred).T @ centred / divisor
    d = x.shape[-1] // groups
    return np.stack(
        [whole[i : i + d, i : i + d] for i in range(0, x.shape[-1], d)]
    )


def found(*arguments, **options):
    value = kn_ops.covariance(*arguments, **options)
    return keras.ops.convert_to_numpy(value)


def close(value, wanted):
    error = np.max(np.abs(value - wanted))
    assert error < TOLERANCE * np.max(np.abs(wanted))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_values(groups, unbiased):
    x = data()
    value = found(x, groups=groups, unbiased=unbiased)
    close(value, reference(x, groups, unbiased=unbiased))


def test_channels_first():
    x = data()
    close(found(np.moveaxis(x, -1, 1), axis=1), reference(x))


def test_vectors():
    x = data().reshape(-1, 8)
    close(found(x), reference(x))


def test_far_from_zero():
    x = data(1e4)
    # Rounding the data costs nothing: the reference sees the rounded ones.
    close(found(x), reference(x))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_mask(rank):
    x = data()
    w = np.random.default_rng(1).uniform(0, 2, x.shape[:rank])
    w = np.where(w < 0.7, 0.0, w).astype("float32")
    full = np.broadcast_to(w.reshape(w.shape + (1,) * (3 - rank)), x.shape[:3])
    x[full == 0] = np.nan
    close(found(x, mask=w), reference(x, weights=full))


def test_nothing_seen():
    assert np.all(found(data(), mask=np.zeros(6)) == 0)
    assert np.all(found(data()[:0]) == 0)


def test_half_precision():
    x = data().astype("float16")
    close(found(x), reference(x))


@pytest.mark.parametrize("jit", [False, True])
def test_gradient(jit):
    x = data()[:2, :2, :2, :4]
    upstream = np.random.default_rng(1).normal(size=(2, 2, 2))
    layer = Primitive(lambda x: kn_ops.covariance(x, groups=2))
    value = gradients(layer, [[x]], upstream, jit=jit).inputs[0][0]
    wanted = differences(lambda x: reference(x, 2), [x], upstream)[0]
    close(value, wanted)


@pytest.mark.parametrize(
    "options,name",
    [
        (dict(axis=4), "`axis`"),
        (dict(axis=0), "`axis`"),
        (dict(axis=(1, 2)), "`axis`"),
        (dict(groups=3), "`groups`"),
        (dict(mask=np.ones((6, 4, 3, 8))), "`mask`"),
    ],
    ids=["outside", "batch", "two", "groups", "mask"],
)
def test_errors(options, name):
    with pytest.raises(ValueError, match=name):
        kn_ops.covariance(data(), **options)
