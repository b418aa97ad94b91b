"""Normalization propagation against the formula in float64."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from functions import differences
from gradients import gradients
from layers.weights.kinds import array

# Float32 results of sums of some ten products, each a rounding of 6e-8.
ROUNDING = 2e-6
PHI = {
    "linear": lambda u: u,
    "relu": lambda u: np.maximum(u, 0),
    "tanh": np.tanh,
    "softplus": lambda u: np.logaddexp(0, u),
}


def constants(activation):
    """E phi(z) and std phi(z), by the trapezoidal rule."""
    if activation == "relu":
        return 1 / np.sqrt(2 * np.pi), np.sqrt((1 - 1 / np.pi) / 2)
    z = np.linspace(-12, 12, 24001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    values = PHI[activation](z)
    mean = np.sum(density * values)
    return mean, np.sqrt(np.sum(density * (values - mean) ** 2))


def dense(activation):
    mean, deviation = constants(activation)

    def function(x, v, bias, g):
        u = x @ (g * v / np.linalg.norm(v, axis=0)) + bias
        return (PHI[activation](u) - mean) / deviation

    return function


def wrapped(activation, shape=(6, 8), units=5, **options):
    layer = kn.layers.NormalizationPropagation(
        layers.Dense(units, activation=activation), **options
    )
    layer.build(shape)
    return layer


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("activation", PHI)
def test_values_and_gradients(activation):
    layer, x = wrapped(activation), data(6, 8)
    random = np.random.default_rng(2)
    weights = [random.normal(0.5, 1, w.shape) for w in layer.weights]
    layer.set_weights(weights)
    weights = [array(w).astype("float64") for w in layer.weights]
    assert [w.shape for w in weights] == [(8, 5), (5,), (5,)]
    function = dense(activation)
    expected = function(x.astype("float64"), *weights)
    upstream = random.normal(size=expected.shape)
    found = gradients(layer, [x], upstream)
    assert np.abs(found.outputs - expected).max() <= 2 * ROUNDING
    wanted = differences(function, [x, *weights], upstream)
    given = [found.inputs[0], *found.weights.values()]
    for a, b in zip(given, wanted, strict=True):
        assert np.abs(a - b).max() <= 5e-6 * max(1, np.abs(b).max())


def test_starts_as_the_paper():
    layer = wrapped("relu")
    assert np.allclose(array(layer.g), 1 / 1.21, rtol=1e-6)
    assert layer.violations()["kernel"] <= ROUNDING
    assert abs(layer.mean - constants("relu")[0]) <= 1e-7
    assert abs(layer.deviation - constants("relu")[1]) <= 1e-7


@pytest.mark.parametrize("activation", PHI)
def test_standard_normal_inputs_give_standard_outputs(activation):
    n = 40000
    layer = wrapped(activation, (n, 12), scale_initializer=1.0)
    y = array(layer(data(n, 12))).astype("float64")
    # Five standard errors: of the mean 1 / sqrt(n), of the variance
    # sqrt((kurtosis - 1) / n), the kurtosis being below 9 for these.
    assert np.abs(y.mean(0)).max() <= 5 / np.sqrt(n)
    assert np.abs(y.var(0) - 1).max() <= 5 * np.sqrt(8 / n)


def test_layers_in_a_row_stay_standard():
    # Orthonormal rows: independent Gaussian entries stay what they are.
    n, width = 20000, 64
    y = data(n, width)
    for i in range(3):
        layer = kn.layers.NormalizationPropagation(
            layers.Dense(
                width,
                activation="relu",
                kernel_initializer=keras.initializers.Orthogonal(seed=i),
            ),
            scale_initializer=1.0,
        )
        y = array(layer(y))
    # Sums of 64 terms are nearly Gaussian: of the moments some hundredths
    # are left, where plain ReLU layers would keep a fifth of the variance.
    assert abs(y.mean()) <= 0.05
    assert abs(y.var() - 1) <= 0.1


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: layers.Conv2D(6, 3, activation="relu"), (64, 9, 9, 4)),
        (lambda: layers.Conv1D(6, 3, groups=2, activation="tanh"), (200, 9, 4)),
        (
            lambda: layers.DepthwiseConv2D(
                3, depth_multiplier=2, activation="relu"
            ),
            (64, 9, 9, 4),
        ),
        (
            lambda: layers.EinsumDense("abc,cd->abd", (9, 6), activation="elu"),
            (400, 9, 4),
        ),
        (
            lambda: layers.TimeDistributed(layers.Dense(6, activation="relu")),
            (400, 9, 4),
        ),
    ],
)
def test_other_layers(make, shape):
    layer = kn.layers.NormalizationPropagation(make(), scale_initializer=1.0)
    y = array(layer(data(*shape))).astype("float64")
    assert layer.compute_output_shape(shape) == y.shape
    y = y.reshape(-1, y.shape[-1])
    # Neighbouring patches share up to 9 of their entries: at least n / 9
    # independent ones.
    n = len(y) / 9
    assert np.abs(y.mean(0)).max() <= 5 / np.sqrt(n)
    assert np.abs(y.var(0) - 1).max() <= 5 * np.sqrt(8 / n)


def test_remove():
    linear = wrapped(None)
    x = data(6, 8)
    y = array(linear(x))
    assert np.abs(array(linear.remove()(x)) - y).max() <= ROUNDING
    with pytest.raises(ValueError, match="Keep the wrapper"):
        wrapped("relu").remove()
    model = keras.Sequential([keras.Input((8,)), wrapped("relu")])
    with pytest.raises(ValueError, match="Keep the wrapper"):
        kn.tools.remove_parametrizations(model)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.LSTM(3), "must have an `activation`"),
        (lambda: layers.SimpleRNN(3), "must have an `activation`"),
        (lambda: layers.Embedding(5, 3), "must have an `activation`"),
        (lambda: layers.MultiHeadAttention(2, 3), "must have an `activation`"),
        (lambda: layers.Dense(3, "softmax"), "each entry alone"),
    ],
)
def test_refused_layers(make, message):
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        kn.layers.NormalizationPropagation(make())


def test_two_kernels_are_refused():
    layer = kn.layers.NormalizationPropagation(
        layers.SeparableConv1D(4, 3, activation="relu")
    )
    with pytest.raises(ValueError, match="must have one kernel.*Received"):
        layer.build((2, 7, 4))


def test_over_another_wrapper():
    layer = kn.layers.NormalizationPropagation(
        kn.layers.WeightCentralization(layers.Dense(5, activation="relu"))
    )
    layer.build((6, 8))
    w = array(layer.effective_kernel())
    assert np.abs(w.sum(0)).max() <= 1e-5
    assert np.abs(np.linalg.norm(w, axis=0) - 1 / 1.21).max() <= ROUNDING
    x = data(6, 8).astype("float64")
    mean, deviation = constants("relu")
    expected = (np.maximum(x @ w, 0) - mean) / deviation
    assert np.abs(array(layer(x)) - expected).max() <= 2 * ROUNDING


def test_mixed_precision():
    layer = kn.layers.NormalizationPropagation(
        layers.Dense(5, activation="relu", dtype="mixed_bfloat16")
    )
    x = data(6, 8)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    weights = [array(w).astype("float64") for w in layer.weights]
    expected = dense("relu")(x.astype("float64"), *weights)
    y = array(keras.ops.cast(y, "float32"))
    # Roundings to bfloat16, 2^-9 of what they round, of inputs, kernel, sum
    # and result.
    assert np.abs(y - expected).max() <= 8 * 2.0**-9 * np.abs(expected).max()


def test_fit_and_saving(tmp_path):
    x = data(64, 8)
    labels = (x[:, 0] > x[:, 1]).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((8,)),
            kn.layers.NormalizationPropagation(
                layers.Dense(16, activation="relu")
            ),
            kn.layers.NormalizationPropagation(layers.Dense(2)),
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
