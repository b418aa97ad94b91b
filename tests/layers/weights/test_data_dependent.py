"""The start of weight normalization from data."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from layers.weights.effective import array
from layers.weights.kinds import KINDS

WN = kn.layers.WeightNormalization
# Moments of some hundred float32 entries.
NEAR = 1e-4


def data(*shape, seed=0):
    random = np.random.default_rng(seed)
    return (1 + 2 * random.standard_normal(shape)).astype("float32")


def check(y, axis, init_scale=1.0):
    """Mean 0 and deviation `init_scale` along all axes but these."""
    kept = [a % y.ndim for a in np.atleast_1d(axis)]
    others = tuple(a for a in range(y.ndim) if a not in kept)
    assert np.abs(y.mean(axis=others)).max() <= NEAR
    assert np.abs(y.std(axis=others) - init_scale).max() <= NEAR


@pytest.mark.parametrize(
    "layer, shape, axis",
    [
        (lambda: layers.Dense(5), (7,), -1),
        (lambda: layers.Dense(5, activation="relu"), (4, 7), -1),
        (lambda: layers.Conv1D(4, 3, groups=2), (8, 4), -1),
        (lambda: layers.Conv2D(4, 3, strides=2, padding="same"), (6, 5, 3), -1),
        (lambda: layers.Conv2DTranspose(4, 3, strides=2), (4, 4, 3), -1),
        (
            lambda: layers.DepthwiseConv2D(
                3, depth_multiplier=2, activation="tanh"
            ),
            (6, 6, 3),
            -1,
        ),
        (
            lambda: layers.EinsumDense(
                "abc,cde->aebd", (3, 5, 2), bias_axes="ed"
            ),
            (5, 4),
            (1, 3),
        ),
        (
            lambda: layers.EinsumDense("...c,cd->...d", (3, 5), bias_axes="d"),
            (3, 4),
            -1,
        ),
        (
            lambda: layers.EinsumDense("abc,bcd->abd", (3, 5), bias_axes="bd"),
            (3, 4),
            (1, 2),
        ),
    ],
)
@pytest.mark.parametrize("init_scale", [1.0, 0.3])
def test_results_before_the_activation(layer, shape, axis, init_scale):
    wrapper = WN(layer())
    x = data(32, *shape)
    wrapper.build(x.shape)
    assert WN.initialize(wrapper, x, init_scale) == [wrapper.name]
    # The activation is back where it was.
    config = wrapper.layer.get_config()
    assert config["activation"] == layer().get_config()["activation"]
    wrapper.layer.activation = keras.activations.linear
    check(array(wrapper(x)), axis, init_scale)


def test_channels_first():
    if keras.config.backend() == "tensorflow":
        # Its convolutions on CPU know channels last only: by strides alone.
        layer = layers.Dense(4)
        x, axis = data(16, 3), -1
    else:
        layer = layers.Conv2D(4, 3, data_format="channels_first")
        x, axis = data(16, 3, 6, 5), 1
    wrapper = WN(layer)
    wrapper.build(x.shape)
    WN.initialize(wrapper, x)
    check(array(wrapper(x)), axis)


def test_without_bias_only_the_deviation():
    wrapper = WN(layers.Dense(5, use_bias=False))
    x = data(64, 7)
    wrapper.build(x.shape)
    v = array(wrapper.layer.kernel).astype("float64")
    WN.initialize(wrapper, x, 0.7)
    y = array(wrapper(x))
    assert np.abs(y.std(axis=0) - 0.7).max() <= NEAR
    # g = init_scale / deviation of x v / |v|, and nothing else.
    t = x @ (v / np.linalg.norm(v, axis=0))
    assert np.abs(array(wrapper.g) - 0.7 / t.std(axis=0)).max() <= NEAR
    assert np.array_equal(array(wrapper.layer.kernel), v.astype("float32"))


def test_layer_after_layer():
    inputs = keras.Input((8, 8, 3))
    x = WN(layers.Conv2D(6, 3, activation="relu"), name="one")(inputs)
    y = WN(layers.Conv2D(6, 3, padding="same"), name="two")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    outputs = WN(layers.Dense(4), name="three")(layers.BatchNormalization()(x))
    model = keras.Model(inputs, outputs)
    batch = data(32, 8, 8, 3)
    moving = [array(v) for v in model.non_trainable_variables]
    assert WN.initialize(model, batch) == ["one", "two", "three"]
    parts = keras.Model(
        inputs, [model.get_layer(name).output for name in ("two", "three")]
    )
    for found in parts(batch, training=False):
        check(array(found), -1)
    for old, new in zip(moving, model.non_trainable_variables, strict=True):
        assert np.array_equal(old, array(new))
    # A second time the same: v alone decides.
    before = [array(v) for v in model.trainable_variables]
    WN.initialize(model, batch)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.abs(old - array(new)).max() <= NEAR
    # Calls are as ever after it.
    other = data(4, 8, 8, 3, seed=1)
    model(other)
    assert np.abs(array(model.trainable_variables[0]) - before[0]).max() == 0


def test_a_subclassed_model_that_calls_one_layer_twice():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.shared = WN(layers.Dense(7), name="shared")
            self.last = WN(layers.Dense(3), name="last")
            self.unused = WN(layers.Dense(3), name="unused")
            self.unused.build((None, 2))

        def call(self, x):
            return self.last(self.shared(self.shared(x)))

    net, x = Net(), data(64, 7)
    net(x)
    assert WN.initialize(net, x) == ["shared", "last"]
    check(array(net.shared(x)), -1)
    check(array(net(x)), -1)


def test_features_without_deviation():
    wrapper = WN(layers.Dense(3))
    x = np.ones((8, 4), "float32")
    wrapper.build(x.shape)
    WN.initialize(wrapper, x)
    y = array(wrapper(x))
    # 1e-10 is added to the variance; g of up to 1e5 multiplies the rounding.
    assert np.isfinite(y).all()
    assert np.abs(y).max() <= 0.1


@pytest.mark.parametrize("kind", ["lstm", "embedding", "separable", "stacked"])
def test_layers_without_results_of_their_own(kind):
    wrapper = WN(KINDS[kind][0]())
    wrapper.build((None, *KINDS[kind][1]))
    with pytest.raises(ValueError, match="needs built layers with one kernel"):
        WN.initialize(wrapper, np.zeros((2, *KINDS[kind][1])))


def test_errors():
    with pytest.raises(ValueError, match="must contain a WeightNormalization"):
        WN.initialize(keras.Sequential([keras.Input((3,)), layers.Dense(2)]), 0)
    with pytest.raises(ValueError, match="needs built layers"):
        WN.initialize(WN(layers.Dense(3)), np.ones((2, 3)))
    for axis in ((), 0):
        wrapper = WN(layers.Dense(4), axis=axis)
        wrapper.build((None, 4))
        with pytest.raises(ValueError, match="needs built layers"):
            WN.initialize(wrapper, data(5, 4))
    wrapper = WN(layers.EinsumDense("abc,cde->abde", (3, 2, 5), bias_axes="e"))
    wrapper.build((None, 3, 4))
    gains = array(wrapper.g)
    with pytest.raises(ValueError, match="a scale and a bias for each channel"):
        WN.initialize(wrapper, data(8, 3, 4))
    assert np.array_equal(array(wrapper.g), gains)
    inner = WN(layers.Dense(4))
    outer = kn.layers.SpectralNormalization(inner)
    outer.build((None, 4))
    with pytest.raises(ValueError, match="outermost wrapper"):
        WN.initialize(outer, data(8, 4))
    # Nothing waits any more.
    outer(data(8, 4))
