"""Signals and gradients of networks whose answer is known."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_norm as kn
from tools.statistics_models import same
from tools.statistics_models import state

propagation = kn.analysis.signal_propagation
WIDTH, DEPTH = 6, 4


def orthogonal(seed):
    random = np.random.default_rng(seed)
    return np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0]


def data(samples=5):
    random = np.random.default_rng(9)
    return random.normal(size=(samples, WIDTH)).astype("float32")


def test_scaled_rotations():
    """h = a^l R x: mean squares times a^2 a layer, angles as they were."""
    model = keras.Sequential(
        [keras.Input((WIDTH,))]
        + [layers.Dense(WIDTH, name=f"d{i}") for i in range(DEPTH)]
    )
    kernels = [1.5 * orthogonal(i) for i in range(DEPTH)]
    model.set_weights([w for k in kernels for w in (k, np.zeros(WIDTH))])
    before = state(model)
    x, y = data(), data() - 1
    found = propagation(model, x, y, lambda y, h: ops.mean((y - h) ** 2, -1))
    assert same(before, state(model))
    assert [entry.name for entry in found] == [f"d{i}" for i in range(DEPTH)]
    assert np.allclose(found.forward_ratios, 2.25, rtol=1e-5)
    assert np.allclose(found.backward_ratios, 2.25, rtol=1e-5)
    h, unit = x, x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[~np.eye(len(x), dtype=bool)].mean()
    for entry, kernel in zip(found, kernels, strict=True):
        h = h @ kernel
        assert np.allclose(entry.mean, h.mean(axis=0), atol=1e-5)
        assert np.allclose(entry.variance, h.var(axis=0), atol=1e-4)
        assert np.isclose(entry.mean_square, np.mean(h**2), rtol=1e-5)
        assert np.isclose(entry.similarity, cosines, atol=1e-5)
    gradient = np.mean((2 * (h - y) / WIDTH) ** 2)
    assert np.isclose(found[-1].gradient_mean_square, gradient, rtol=1e-4)


def test_batch_normalization():
    """Unit variance forward; backward 1 / the deviation before, projected."""
    inputs = keras.Input((WIDTH,))
    normalize = layers.BatchNormalization(epsilon=0.0, name="normalized")
    scaled = layers.Rescaling(10.0, name="scaled")(inputs)
    model = keras.Model(inputs, normalize(scaled))
    model.compile(loss=lambda y, h: ops.sum(y * h, -1))
    x, y = data(8), data(8) * np.arange(1, 9, dtype="float32")[:, None]
    before, after = propagation(model, x, y)
    assert np.allclose(after.mean, 0, atol=1e-5)
    assert np.allclose(after.variance, 1, rtol=1e-4)
    h = 10 * x.astype("float64")
    z = (h - h.mean(axis=0)) / h.std(axis=0)
    g = y - y.mean(axis=0) - z * (y * z).mean(axis=0)
    expected = np.mean((g / h.std(axis=0)) ** 2)
    assert np.isclose(before.gradient_mean_square, expected, rtol=1e-3)
    assert np.isclose(after.gradient_mean_square, np.mean(y**2), rtol=1e-5)
    # Without training the moving statistics, 0 and 1, change nothing.
    before, after = propagation(model, x, y, training=False)
    assert np.isclose(after.mean_square, before.mean_square, rtol=1e-5)


def test_forward_only():
    """No loss is needed; of one sample there is no angle."""
    model = keras.Sequential(
        [keras.Input((4, 3)), layers.Embedding(5, 2), layers.Flatten()]
    )
    x = np.ones((1, 4, 3), "int32")
    found = propagation(model, x)
    assert found[0].mean.shape == (2,) and found[1].mean.shape == (24,)
    assert np.isnan(found[0].similarity)
    assert np.all(np.isnan(found.backward_ratios))
    assert np.allclose(found.forward_ratios, 1)
    with pytest.raises(ValueError, match="`loss` must be given"):
        propagation(model, x, x)


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    model = keras.Sequential([keras.Input((WIDTH,)), layers.Dense(3)])
    assert len(propagation(model, data()).plot().get_lines()) == 1
    found = propagation(model, data(), np.ones((5, 3)), "mse")
    axes = found.plot()
    assert found.plot(axes) is axes
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels == ["signals", "gradients"] * 2
