"""Statistics of a target domain."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from tools.statistics_models import chain
from tools.statistics_models import data
from tools.statistics_models import reference
from tools.statistics_models import statistics

# Some units of 2^-24 of what is summed, the largest some 10.
TOLERANCE = 1e-5


def test_cumulative():
    """The moments of all activations together."""
    model, target = chain("ours"), data(seed=5) + 1
    references = reference(model, target, 16)
    names = kn.tools.adapt_statistics(model, target, batch_size=16)
    assert names == ["first", "second"]
    for name, (mean, variance, _) in zip(names, references, strict=True):
        found = statistics(model.get_layer(name))
        assert np.abs(found[0] - mean).max() <= TOLERANCE
        assert np.abs(found[1] / variance - 1).max() <= TOLERANCE


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("kind", ["keras", "ours"])
def test_moving(kind, reset):
    """The layer's own moving average, from the source or the first batch."""
    model, target = chain(kind), data(48, seed=5) + 1
    layer = model.get_layer("first")
    layer.momentum = 0.8
    mean, variance = statistics(layer)
    batches = target.astype("float64").reshape(3, 16, 4)
    for t, b in enumerate(batches):
        keep = 0.0 if reset and t == 0 else 0.8
        mean = keep * mean + (1 - keep) * b.mean(axis=0)
        variance = keep * variance + (1 - keep) * b.var(axis=0)
    kn.tools.adapt_statistics(
        model, target, batch_size=16, method="moving", reset=reset
    )
    found = statistics(layer)
    assert np.abs(found[0] - mean).max() <= TOLERANCE
    assert np.abs(found[1] / variance - 1).max() <= TOLERANCE


def test_moving_by_a_scheduled_momentum():
    """By the weight, not by the option that it started with."""
    layer = kn.layers.MomentumBatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.moving_momentum.assign(0.5)
    target = data(32)
    one, two = target.astype("float64").reshape(2, 16, 4).mean(axis=1)
    kn.tools.adapt_statistics(model, target, batch_size=16, method="moving")
    found = statistics(layer)[0]
    assert np.abs(found - (one + two) / 2).max() <= TOLERANCE


def test_errors():
    with pytest.raises(ValueError, match="`method` must be one of"):
        kn.tools.adapt_statistics(chain(), data(), method="ema")
    model = keras.Sequential([keras.Input((4,)), kn.layers.FullNormalization()])
    with pytest.raises(ValueError, match="must be 'cumulative'"):
        kn.tools.adapt_statistics(model, data(), method="moving")
    assert kn.tools.adapt_statistics(model, data())
