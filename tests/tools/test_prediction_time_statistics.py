"""Predictions with the statistics of what is predicted."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from tools.statistics_models import array
from tools.statistics_models import chain
from tools.statistics_models import data
from tools.statistics_models import same
from tools.statistics_models import state

predict = kn.tools.prediction_time_statistics
# Outputs of up to some tens; units of 2^-24 of the largest terms.
TOLERANCE = 5e-5


def normalized(layer, x, strength):
    """A layer's output from the formula."""
    n = len(x)
    share = n / (strength + n)
    mean = (1 - share) * array(layer.moving_mean) + share * x.mean(axis=0)
    variance = array(layer.moving_variance)
    variance = (1 - share) * variance + share * x.var(axis=0)
    rate = array(layer.gamma) / np.sqrt(variance + layer.epsilon)
    return (x - mean) * rate + array(layer.beta)


def predicted(model, x, strength):
    layer = {one.name: one for one in model.layers}
    y = normalized(layer["first"], x.astype("float64"), strength)
    y = y @ array(layer["dense"].kernel) + array(layer["dense"].bias)
    y = normalized(layer["second"], np.maximum(y, 0), strength)
    return y @ array(layer["head"].kernel) + array(layer["head"].bias)


@pytest.mark.parametrize("kind", ["keras", "ours"])
@pytest.mark.parametrize("strength", [0, 16.0])
def test_mixed(kind, strength):
    model, x = chain(kind), data(48) + 1
    before = state(model)
    y = predict(model, x, strength, batch_size=24)
    expected = [predicted(model, x[i : i + 24], strength) for i in (0, 24)]
    assert np.abs(y - np.concatenate(expected)).max() <= TOLERANCE
    assert same(before, state(model))


def test_limits():
    model, x = chain(), data(48)
    plain = array(model(x))
    assert np.array_equal(predict(model, x, float("inf")), plain)
    # So strong that no float32 moves.
    assert np.abs(predict(model, x, 1e12) - plain).max() <= TOLERANCE
    # All samples are one batch.
    expected = predicted(model, x, 0)
    assert np.abs(predict(model, x) - expected).max() <= TOLERANCE


def test_several_outputs():
    inputs = keras.Input((4,))
    y = kn.layers.BatchNormalization()(inputs)
    model = keras.Model(inputs, {"y": y, "x": inputs})
    found = predict(model, data(20), batch_size=15)
    assert found["y"].shape == found["x"].shape == (20, 4)


def test_errors():
    model = chain()
    before = state(model)
    with pytest.raises(ValueError, match="`prior_strength`"):
        predict(model, data(), -1)

    def batches():
        yield data(16)
        raise RuntimeError("No more.")

    with pytest.raises(RuntimeError, match="No more"):
        predict(model, batches(), 2, steps=2)
    assert same(before, state(model))
