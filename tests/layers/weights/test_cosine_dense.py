"""Cosine normalization of dense layers against the formula in float64."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from functions import differences
from gradients import gradients
from gradients import inference
from layers.weights.holder import Holder
from layers.weights.kinds import array

EPSILON = 1e-12
# Float32 results of sums of some ten products, each a rounding of 6e-8.
ROUNDING = 2e-6

CASES = {
    "scaled": {},
    "plain": {"scale": False, "use_bias": False},
    "per neuron": {"per_neuron": True, "activation": "tanh"},
    "centred": {"centered": True},
    "centred plain": {"centered": True, "scale": False, "activation": "relu"},
}


def cosines(x, w, centered=False):
    """<w, x> / (|w| |x|) of the last axis of x and the first of w."""
    if centered:
        x = x - x.mean(-1, keepdims=True)
        w = w - w.mean(0)
    of_x = np.sqrt(np.maximum(np.sum(x**2, -1, keepdims=True), EPSILON))
    of_w = np.sqrt(np.maximum(np.sum(w**2, 0), EPSILON))
    return x @ w / of_x / of_w


def formula(options):
    """The layer as a function of x and its weights."""
    activation = {
        None: lambda y: y,
        "relu": lambda y: np.maximum(y, 0),
        "tanh": np.tanh,
    }[options.get("activation")]

    def function(x, kernel, *rest):
        rest = list(rest)
        bias = rest.pop(0) if options.get("use_bias", True) else 0
        gamma = rest.pop(0) if options.get("scale", True) else 1
        y = gamma * cosines(x, kernel, options.get("centered", False))
        return activation(y + bias)

    return function


def built(shape, units=5, **options):
    """A layer with weights that are not special."""
    layer = kn.layers.CosineDense(units, **options)
    layer.build(shape)
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(0.7, 1, w.shape) for w in layer.weights])
    return layer


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1, shape).astype("float32")


@pytest.mark.parametrize("shape", [(6, 8), (3, 4, 8)])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, shape):
    options = CASES[case]
    layer, x = built(shape, **options), data(*shape)
    weights = [array(w).astype("float64") for w in layer.weights]
    names = [w.name for w in layer.weights]
    function = formula(options)
    expected = function(x.astype("float64"), *weights)
    upstream = np.random.default_rng(1).normal(size=expected.shape)
    found = gradients(layer, [x], upstream)
    assert np.abs(found.outputs - expected).max() <= ROUNDING
    wanted = differences(function, [x, *weights], upstream)
    given = [found.inputs[0], *(found.weights[n] for n in names)]
    for a, b in zip(given, wanted, strict=True):
        # Sums over up to 12 rows, and 1e-7 of the differences.
        assert np.abs(a - b).max() <= 5e-6 * max(1, np.abs(b).max())


def test_weights_in_order():
    shapes = {w.name: tuple(w.shape) for w in built((6, 8)).weights}
    assert shapes == {"kernel": (8, 5), "bias": (5,), "gamma": ()}
    each = built((6, 8), per_neuron=True)
    assert tuple(each.gamma.shape) == (5,)
    assert float(array(built_fresh().gamma)) == 10.0
    plain = built((6, 8), scale=False, use_bias=False)
    assert [w.name for w in plain.weights] == ["kernel"]


def built_fresh():
    layer = kn.layers.CosineDense(5)
    layer.build((6, 8))
    return layer


@pytest.mark.parametrize("centered", [False, True])
def test_scales_do_not_matter_and_nothing_exceeds_1(centered):
    layer = built((6, 8), scale=False, use_bias=False, centered=centered)
    x, kernel = data(6, 8), array(layer.kernel)
    # A row along a weight vector, one against it.
    x[0], x[1] = 3 * kernel[:, 1], -5 * kernel[:, 2]
    y = array(layer(x))
    assert abs(y[0, 1] - 1) <= ROUNDING
    assert abs(y[1, 2] + 1) <= ROUNDING
    assert np.abs(y).max() <= 1 + ROUNDING
    assert np.abs(array(layer(1e4 * x)) - y).max() <= ROUNDING
    assert np.abs(array(layer(1e-3 * x)) - y).max() <= ROUNDING
    layer.kernel.assign(100 * kernel * np.arange(1, 6, dtype="float32"))
    assert np.abs(array(layer(x)) - y).max() <= ROUNDING
    upstream = np.random.default_rng(1).normal(size=y.shape)
    found = gradients(layer, [x], upstream)
    # Of degree 0 in x and in w: gradients at right angles to both.
    along_x = np.sum(found.inputs[0] * x, -1)
    along_w = np.sum(found.weights["kernel"] * array(layer.kernel), 0)
    assert np.abs(along_x).max() <= 1e-5
    assert np.abs(along_w).max() <= 1e-5


def test_is_layer_and_weight_normalization():
    # <w, LN(x)> / |w| = t sqrt(F), of centred x.
    x = data(6, 8)
    layer = built((6, 8), centered=True, scale=False, use_bias=False)
    normal = kn.layers.LayerNormalization(
        center=False, scale=False, epsilon=1e-12
    )
    dense = kn.layers.CenteredWeightNormalization(
        keras.layers.Dense(5, use_bias=False), epsilon=0.0
    )
    dense.build(x.shape)
    dense.layer.kernel.assign(layer.kernel)
    expected = array(dense(normal(x))) / np.sqrt(8)
    assert np.abs(array(layer(x)) - expected).max() <= ROUNDING


@pytest.mark.parametrize("shift", [1e4, -1e5, 1e6])
def test_centred_far_from_zero(shift):
    promised = {1e4: 1e-4, 1e5: 1e-3, 1e6: 1e-2}[abs(shift)]
    x = (data(6, 64) + shift).astype("float32")
    layer = built((6, 64), centered=True, scale=False, use_bias=False)
    # An outlier in the first entry of one row.
    x[0, 0] += 1e4
    expected = cosines(
        x.astype("float64"), array(layer.kernel).astype("float64"), True
    )
    assert np.abs(array(layer(x)) - expected).max() <= promised


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("value", [0.0, 7e4])
def test_degenerate_inputs_and_weights(centered, value):
    layer = built((3, 8), centered=centered, scale=False, use_bias=False)
    kernel = np.array(array(layer.kernel))
    kernel[:, 0] = 0
    layer.kernel.assign(kernel)
    x = data(3, 8)
    x[1] = value
    found = gradients(layer, [x], np.ones((3, 5)))
    assert np.all(np.isfinite(found.outputs))
    assert np.all(np.isfinite(found.inputs[0]))
    assert np.all(np.isfinite(found.weights["kernel"]))
    assert np.abs(found.outputs[:, 0]).max() == 0
    if centered or value == 0:
        assert np.abs(found.outputs[1]).max() <= 1e-4


def test_mixed_precision_computes_in_float32():
    x = 6e4 * data(4, 8).clip(-1, 1)
    half = kn.layers.CosineDense(5, dtype="mixed_float16")
    half.build(x.shape)
    y = half(x.astype("float16"))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    expected = 10 * cosines(
        x.astype("float16").astype("float64"),
        array(half.kernel).astype("float64"),
    )
    # One rounding to float16 of results up to 10.
    assert np.abs(array(y) - expected).max() <= 10 * 2.0**-10


def test_fit_and_saving(tmp_path):
    x = data(64, 8)
    labels = (x[:, 0] > x[:, 1]).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((8,)),
            kn.layers.CosineDense(16, activation="tanh"),
            kn.layers.CosineDense(2, centered=True, use_bias=False),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(x, labels, batch_size=16, epochs=8, verbose=0)
    assert history.history["loss"][-1] < 0.7 * history.history["loss"][0]
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(array(twin(x)), array(model(x)))


def test_weights_of_keras_dense_load(tmp_path):
    theirs = Holder(keras.layers.Dense(5))
    ours = Holder(kn.layers.CosineDense(5))
    for model in (theirs, ours):
        model(data(2, 8))
    theirs.inner.bias.assign(np.arange(5.0))
    theirs.save_weights(tmp_path / "plain.weights.h5")
    ours.load_weights(tmp_path / "plain.weights.h5")
    for name in ("kernel", "bias"):
        a, b = (array(getattr(m.inner, name)) for m in (theirs, ours))
        assert np.array_equal(a, b)
    # What the plain layer does not have stays as it started.
    assert float(array(ours.inner.gamma)) == 10.0


def test_config_and_errors():
    layer = kn.layers.CosineDense(
        3, gamma_initializer=2.5, per_neuron=True, gamma_regularizer="l2"
    )
    twin = kn.layers.CosineDense.from_config(layer.get_config())
    twin.build((2, 4))
    assert np.array_equal(array(twin.gamma), np.full(3, 2.5, "float32"))
    assert len(twin.losses) == 1
    with pytest.raises(ValueError, match="at least two inputs.*Received"):
        kn.layers.CosineDense(3, centered=True).build((2, 1))
    with pytest.raises(TypeError, match="has no argument 'centred'"):
        kn.layers.CosineDense(3, centred=True)
    with pytest.raises(ValueError, match="`units`"):
        kn.layers.CosineDense(0)


def test_inference_is_training():
    layer, x = built((6, 8)), data(6, 8)
    assert np.abs(inference(layer, [x]) - array(layer(x))).max() <= ROUNDING
