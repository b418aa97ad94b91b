"""Roots of singular matrices without the eigenvalues below a threshold."""

import keras
import numpy as np
import pytest

from functions import Primitive
from functions import differences
from gradients import gradients
from keras_norm.ops import spectra

RESOLUTION = 2.0**-23
LOSS = 30.0
ROOTS = {
    0.5: spectra.truncated_square_root,
    -0.5: spectra.truncated_inverse_square_root,
}
# Eigenvalues; those below 0.05 are dropped.
EIGENVALUES = {
    "all kept": [3.0, 2.0, 1.2, 0.7, 0.3],
    "two dropped": [3.0, 2.0, 0.7, 0.02, 0.005],
    "equal ones": [2.0, 2.0, 0.5, 0.01, 0.01],
    "rank one": [3.0, 0.0, 0.0, 0.0, 0.0],
    "nothing kept": [0.01, 0.01, 0.001, 0.0, 0.0],
}
THRESHOLD = 0.05


def matrix(eigenvalues, seed=0):
    d = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return (q * np.asarray(eigenvalues)) @ q.T


def symmetric(t):
    return 0.5 * (t + np.swapaxes(t, -1, -2))


def truncated(s, power):
    values, vectors = np.linalg.eigh(symmetric(s))
    kept = values >= THRESHOLD
    powers = np.where(kept, np.where(kept, values, 1.0) ** power, 0.0)
    return (vectors * powers) @ vectors.T


def run(s, power, threshold):
    s = keras.ops.convert_to_tensor(s.astype("float32"))
    return keras.ops.convert_to_numpy(ROOTS[power](s, threshold))


def error(found, wanted):
    largest = max(np.max(np.abs(wanted)), 1e-30)
    return np.max(np.abs(found - wanted)) / largest


@pytest.mark.parametrize("power", ROOTS)
@pytest.mark.parametrize("case", EIGENVALUES)
def test_value_and_gradient(case, power):
    s = matrix(EIGENVALUES[case])
    upstream = np.random.default_rng(1).normal(size=s.shape)
    layer = Primitive(lambda t: ROOTS[power](t, THRESHOLD))
    found = gradients(layer, [[s.astype("float32")]], upstream)
    wanted = truncated(s, power)
    # Conditions of what is kept are at most 10, gaps to what is not 0.28.
    bound = LOSS * RESOLUTION * 30
    assert np.max(np.abs(found.outputs - wanted)) < bound
    wanted = differences(lambda t: truncated(t, power), [s], upstream)[0]
    gradient = symmetric(found.inputs[0][0])
    assert np.max(np.abs(gradient - symmetric(wanted))) < 10 * bound


@pytest.mark.parametrize("power", ROOTS)
def test_batch_with_another_rank_in_each_matrix(power):
    s = np.stack([matrix(e) for e in EIGENVALUES.values()])
    found = run(s, power, THRESHOLD)
    wanted = [truncated(t, power) for t in s]
    assert error(found, np.stack(wanted)) < LOSS * RESOLUTION * 30


@pytest.mark.parametrize("power", ROOTS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rounding_is_dropped_without_a_threshold(power, scale):
    # Rank two: the other eigenvalues are rounding, of either sign.
    half = np.random.default_rng(2).normal(size=(6, 2)).astype("float32")
    s = (scale * half @ half.T).astype("float32")
    found = run(s, power, 0.0)
    values, vectors = np.linalg.eigh(s.astype("float64"))
    values, vectors = values[-2:], vectors[:, -2:]
    wanted = (vectors * values**power) @ vectors.T
    assert error(found, wanted) < LOSS * RESOLUTION * 30


@pytest.mark.parametrize("power", ROOTS)
def test_gradient_is_finite_where_kept_and_dropped_meet(power):
    # Both sides of the threshold, an ulp apart.
    s = np.diag([1.0, 0.5, np.nextafter(np.float32(0.5), np.float32(0))])
    layer = Primitive(lambda t: ROOTS[power](t, 0.5))
    found = gradients(layer, [[s.astype("float32")]], np.ones((3, 3)))
    gradient = found.inputs[0][0]
    assert np.all(np.isfinite(gradient))
    assert np.max(np.abs(gradient)) < 1e5
