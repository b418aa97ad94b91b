"""Disturbance by the batch, where its expectation is known."""

from math import gamma

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_norm as kn
from tools.statistics_models import same
from tools.statistics_models import state

disturbance = kn.analysis.stochastic_disturbance


def gaussian(samples=2000, width=4):
    random = np.random.default_rng(0)
    return random.normal(size=(samples, width)).astype("float32")


def test_mean_of_the_batch_subtracted():
    """x - mean: a Gaussian of variance (B - 1) / B^2 in each channel."""
    found = disturbance(
        lambda x: x - ops.mean(x, axis=0), gaussian(), (2, 8), 100, 10, seed=1
    )
    sizes = found.batch_sizes
    assert sizes.tolist() == [2, 8] and found.values.shape == (2, 10)
    length = np.sqrt(2) * gamma(5 / 2) / gamma(4 / 2)
    expected = np.sqrt(sizes - 1) / sizes * length
    # The length of a Gaussian of 4 entries varies by 0.36 of its mean: five
    # standard errors of 1000, and 1 / 200 for the mean of 100 batches.
    error = 5 * 0.36 / np.sqrt(1000) + 1 / 200
    assert np.all(np.abs(found.mean / expected - 1) <= error)
    assert np.array_equal(found.mean, found.values.mean(axis=1))


@pytest.mark.parametrize("kind", ["keras", "ours"])
def test_batches_of_two(kind):
    """Batch normalization leaves the sign of x - z: 4 p (1 - p)."""
    owner = {"keras": layers, "ours": kn.layers}[kind]
    layer = owner.BatchNormalization(epsilon=0.0)
    x = np.array([[0.0], [1.0], [3.0]], "float32")
    found = disturbance(layer, x, 2, batches=60, samples=9, seed=0)
    low, middle, high = sorted(found.values[0])
    assert max(low, middle) <= 1e-5
    # 1 - (2 p - 1)^2 for the share p of 60, five standard errors from 1/2.
    assert 1 - 25 / 60 <= high <= 1 + 1e-5


def test_methods_compared():
    """None without batch statistics; more where more is standardized."""
    x = gaussian(500)
    found = {
        layer.name: disturbance(layer, x, 16, 20, 4, seed=0).mean[0]
        for layer in (
            kn.layers.LayerNormalization(name="layer"),
            kn.layers.BatchNormalization(name="batch"),
            kn.layers.DecorrelatedBatchNormalization(name="white"),
        )
    }
    assert found["layer"] <= 1e-6
    assert found["white"] > 1.1 * found["batch"] > 0.1


def test_models_stay_as_they_are():
    """Several inputs and outputs, dropout, statistics, seeds, an error."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    h = kn.layers.BatchNormalization()(layers.Dropout(0.5, seed=1)(a))
    model = keras.Model({"a": a, "b": b}, [h, layers.Dense(2)(b)])
    before = state(model)
    data = {"a": gaussian(20), "b": gaussian(20)}
    options = {"batches": 5, "samples": 3, "seed": 2}
    found = disturbance(model, data, [4], **options)
    assert same(before, state(model))
    again = disturbance(model, data, 4, per_entry=True, **options)
    assert np.allclose(again.values * np.sqrt(6), found.values)
    calls = []

    def wrong(x, training=None):
        calls.append(x)
        raise RuntimeError("No.")

    object.__setattr__(model.layers[-1], "call", wrong)
    with pytest.raises(RuntimeError, match="No"):
        disturbance(model, data, 4, **options)
    object.__delattr__(model.layers[-1], "call")
    assert calls and same(before, state(model))


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    found = kn.analysis.StochasticDisturbance(
        np.array([2, 4]), np.array([[1.0, 3.0], [1.0, 1.0]])
    )
    axes = found.plot()
    assert found.plot(axes) is axes
    assert axes.get_lines()[0].get_ydata().tolist() == [2.0, 1.0]


@pytest.mark.once
def test_errors():
    x, layer = gaussian(10), layers.BatchNormalization()
    for sizes in (1, 11, [], (4, 20)):
        with pytest.raises(ValueError, match="`batch_sizes` must be from 2"):
            disturbance(layer, x, sizes)
    with pytest.raises(ValueError, match="`batches` must be an integer"):
        disturbance(layer, x, 2, batches=1)
    with pytest.raises(ValueError, match="`samples` must be an integer"):
        disturbance(layer, x, 2, samples=0)
    with pytest.raises(ValueError, match="`data` must be an array"):
        disturbance(layer, iter([x]), 2)
    with pytest.raises(ValueError, match="`layer` must be a layer"):
        disturbance("layer", x, 2)
