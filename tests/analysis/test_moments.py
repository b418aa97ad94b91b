"""Moments through networks: formulas in float64, and simulated data."""

import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

pytestmark = pytest.mark.once

erf = np.vectorize(math.erf)


def array(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), "float64")


def relu(mean, variance):
    """Mean and variance of max(u, 0), u ~ N(mean, variance)."""
    s = np.sqrt(variance)
    above = (1 + erf(mean / s / np.sqrt(2))) / 2
    density = s * np.exp(-((mean / s) ** 2) / 2) / np.sqrt(2 * np.pi)
    first = mean * above + density
    second = (mean**2 + variance) * above + mean * density
    return first, second - first**2


def randomized(model, seed=0):
    """The model with weights that are not special."""
    rng = np.random.default_rng(seed)
    values = []
    for w in model.weights:
        value = 0.4 * rng.normal(size=w.shape)
        if w.name in ("moving_variance", "gamma"):
            value = np.abs(value) + 0.5
        values.append(value)
    model.set_weights(values)
    return model


def assert_close(found, mean, variance):
    # Weights in float32, activations by quadrature good to 1e-6.
    assert np.allclose(found.mean, mean, rtol=1e-5, atol=1e-5)
    assert np.allclose(found.variance, variance, rtol=1e-5, atol=1e-5)


def test_dense_layers():
    model = randomized(
        keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(5, activation="relu", name="first"),
                layers.Dropout(0.5, name="dropped"),
                layers.Dense(4, use_bias=False, name="second"),
                layers.ReLU(name="last"),
            ]
        )
    )
    k1, b1, k2 = (array(w) for w in model.weights)
    m0 = np.linspace(-1, 1, 6)
    v0 = np.linspace(0.2, 2, 6)
    found = kn.analysis.propagate_moments(model, m0, v0)
    assert [f.name for f in found] == ["first", "dropped", "second", "last"]
    m1, v1 = relu(m0 @ k1 + b1, v0 @ k1**2)
    assert_close(found[0], m1, v1)
    assert_close(found[1], m1, v1)
    m2, v2 = m1 @ k2, v1 @ k2**2
    assert_close(found[2], m2, v2)
    assert_close(found[3], *relu(m2, v2))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_convolutions(data_format):
    first = data_format == "channels_first"
    options = {"data_format": data_format}
    model = randomized(
        keras.Sequential(
            [
                keras.Input((4, 7, 6) if first else (7, 6, 4)),
                layers.Conv2D(6, 3, groups=2, strides=(1, 2), **options),
                layers.BatchNormalization(axis=1 if first else -1),
                layers.Activation("relu"),
                layers.DepthwiseConv2D(2, depth_multiplier=2, **options),
                layers.Flatten(**options),
                layers.Dense(3),
            ]
        )
    )
    k1, b1, gamma, beta, mean, variance, k2, b2, k3, b3 = (
        array(w)
        for layer in model.layers
        for w in (
            [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance]
            if hasattr(layer, "gamma")
            else layer.weights
        )
    )
    m0, v0 = np.array([0.5, -1, 0, 2]), np.array([1, 2, 0.5, 0.1])
    found = kn.analysis.propagate_moments(model, m0, v0)
    # Two groups of two inputs and three outputs, taps added up.
    m, v = np.zeros(6), np.zeros(6)
    for o in range(6):
        for i in range(2):
            channel = i + 2 * (o // 3)
            m[o] += m0[channel] * k1[:, :, i, o].sum()
            v[o] += v0[channel] * (k1[:, :, i, o] ** 2).sum()
    m += b1
    assert_close(found[0], m, v)
    rate = gamma / np.sqrt(variance + 1e-3)
    m, v = (m - mean) * rate + beta, v * rate**2
    assert_close(found[1], m, v)
    m, v = relu(m, v)
    assert_close(found[2], m, v)
    m = np.ravel(m[:, None] * k2.sum((0, 1))) + b2
    v = np.ravel(v[:, None] * (k2**2).sum((0, 1)))
    assert_close(found[3], m, v)
    # 4 x 1 positions, channels last in both formats.
    assert_close(found[4], np.tile(m, 4), np.tile(v, 4))
    assert_close(found[5], np.tile(m, 4) @ k3 + b3, np.tile(v, 4) @ k3**2)


def test_wrapped_layers():
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            kn.layers.NormalizationPropagation(
                layers.Dense(6, activation="relu"), scale_initializer=1.0
            ),
            kn.layers.WeightStandardization(layers.Dense(5)),
            kn.layers.GaussianPoincareActivation("tanh"),
        ]
    )
    found = kn.analysis.propagate_moments(model)
    # What the layer is for.
    assert_close(found[0], np.zeros(6), np.ones(6))
    w = array(model.layers[1].effective_kernel())
    assert_close(found[1], np.zeros(5), np.sum(w**2, 0))
    x = rng.normal(size=(40000, 5)) * np.sqrt(found[1].variance)
    y = array(model.layers[2](x.astype("float32")))
    # Five standard errors; what is bounded has little kurtosis.
    assert np.abs(y.mean(0) - found[2].mean).max() <= 5 * 2 / 200
    assert np.abs(y.var(0) - found[2].variance).max() <= 5 * 3 / 200


def test_branches_and_models_within():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, "relu", name="dense")], name="inner"
    )
    x = keras.Input((4,))
    a = layers.Dense(4, name="a")(x)
    b = inner(x)
    added = layers.Add(name="added")([a, b])
    both = layers.Concatenate(name="both")([a, b])
    out = layers.Dense(2, name="out")(both)
    model = randomized(keras.Model(x, [out, added]))
    found = {f.name: f for f in kn.analysis.propagate_moments(model, 1.0, 2.0)}
    assert set(found) == {"a", "inner/dense", "added", "both", "out"}
    a, b = found["a"], found["inner/dense"]
    kernel, bias = (array(w) for w in model.get_layer("a").weights)
    assert_close(a, kernel.sum(0) + bias, 2 * (kernel**2).sum(0))
    kernel, bias = (array(w) for w in inner.weights)
    assert_close(b, *relu(kernel.sum(0) + bias, 2 * (kernel**2).sum(0)))
    assert_close(found["added"], a.mean + b.mean, a.variance + b.variance)
    m = np.concatenate([a.mean, b.mean])
    v = np.concatenate([a.variance, b.variance])
    assert_close(found["both"], m, v)
    kernel, bias = (array(w) for w in model.get_layer("out").weights)
    assert_close(found["out"], m @ kernel + bias, v @ kernel**2)


def test_averages():
    model = randomized(
        keras.Sequential(
            [
                keras.Input((8, 6, 2)),
                layers.Conv2D(3, 1),
                layers.AveragePooling2D((2, 3)),
                layers.GlobalAveragePooling2D(),
            ]
        )
    )
    found = kn.analysis.propagate_moments(model)
    assert_close(found[1], found[0].mean, found[0].variance / 6)
    assert_close(found[2], found[0].mean, found[0].variance / 48)


def test_simulated_data():
    # Deep and wide enough that sums are Gaussian.
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((200,)),
            layers.Dense(200, activation="tanh"),
            layers.Dense(200, activation="relu"),
            layers.Dense(20),
        ]
    )
    rng = np.random.default_rng(0)
    y = rng.normal(0.2, 1.5, (5000, 200)).astype("float32")
    for layer, found in zip(
        model.layers,
        kn.analysis.propagate_moments(model, 0.2, 1.5**2),
        strict=True,
    ):
        y = array(layer(y))
        scale = np.sqrt(found.variance.mean())
        # Independence is an assumption: some hundredths are its error.
        assert np.abs(y.mean(0) - found.mean).mean() <= 0.05 * scale
        ratio = y.var(0).mean() / found.variance.mean()
        assert abs(ratio - 1) <= 0.1


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, name="one")])
    axes = kn.analysis.propagate_moments(model).plot()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["one"]
    assert [len(line.get_xdata()) for line in axes.get_lines()] == [5, 5]


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def test_errors():
    propagate = kn.analysis.propagate_moments
    model = keras.Sequential(
        [keras.Input((6, 4)), layers.LSTM(3, name="memory")]
    )
    with pytest.raises(ValueError, match="moments are known.*layer='memory'"):
        propagate(model)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(3, "softmax", name="classes")]
    )
    with pytest.raises(ValueError, match="moments are known.*layer='classes'"):
        propagate(model)
    x = keras.Input((4,))
    with pytest.raises(ValueError, match="moments are known"):
        propagate(keras.Model(x, keras.ops.square(x)))
    with pytest.raises(ValueError, match="`model` must be a built"):
        propagate(Subclassed())
    with pytest.raises(ValueError, match="`model` must be a built"):
        propagate(keras.Sequential([layers.Dense(3)]))
    y = keras.Input((4,))
    with pytest.raises(ValueError, match="must have one input"):
        propagate(keras.Model([x, y], layers.Add()([x, y])))
    dense = keras.Model(x, layers.Dense(3)(x))
    with pytest.raises(ValueError, match="`variance` must not be negative"):
        propagate(dense, 0.0, -1.0)
    with pytest.raises(ValueError, match="one number or one for each channel"):
        propagate(dense, np.zeros((2, 4)))
