"""Effective learning rates during training."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from contract.method import numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4)).astype("float32")
Y = X[:, :1] - X[:, 1:2]


def fitted(callback):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, use_bias=False),
            kn.layers.BatchNormalization(epsilon=1e-7),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    options = {"batch_size": 8, "epochs": 3, "verbose": 0}
    history = model.fit(X, Y, callbacks=[callback], **options)
    return model, history.history


def test_rates():
    """Steps perpendicular to a kernel lengthen it."""
    callback = kn.callbacks.EffectiveLearningRate()
    model, history = fitted(callback)
    first, last = (model.layers[i].kernel for i in (0, 2))
    assert list(callback.rates) == [first.path, last.path]
    for kernel in (first, last):
        rates, norms = callback.rates[kernel.path], callback.norms[kernel.path]
        assert history[f"effective_learning_rate/{kernel.path}"] == rates
        w = numpy(kernel).astype("float64")
        assert abs(norms[-1] - np.linalg.norm(w)) <= 1e-6 * norms[-1]
        assert abs(rates[-1] - 0.1 / np.sum(w**2)) <= 1e-6 * rates[-1]
    assert np.all(np.diff(callback.norms[first.path]) > 0)
    assert np.all(np.diff(callback.rates[first.path]) < 0)


@pytest.mark.once
def test_chosen_weights():
    callback = kn.callbacks.EffectiveLearningRate(["no/kernel"])
    with pytest.raises(ValueError, match="`variables` must be one of"):
        fitted(callback)


@pytest.mark.once
def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    callback = kn.callbacks.EffectiveLearningRate()
    callback.rates = {"dense/kernel": [0.1, 0.05]}
    axes = callback.plot()
    assert callback.plot(axes) is axes
