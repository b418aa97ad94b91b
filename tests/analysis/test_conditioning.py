"""Spectra of covariances: chosen ones, explicit loops, explicit gradients."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from keras_norm.analysis import autodiff
from keras_norm.analysis.layer_inputs import input_rows
from keras_norm.analysis.model_losses import ModelLoss
from tools.statistics_models import array
from tools.statistics_models import same
from tools.statistics_models import state

conditioning = kn.analysis.conditioning


def with_spectrum(rows, eigenvalues, seed=0):
    """Rows x with E[x x^T] of these eigenvalues exactly."""
    random = np.random.default_rng(seed)
    q = np.linalg.qr(random.normal(size=(rows, len(eigenvalues))))[0]
    turn = np.linalg.qr(random.normal(size=(len(eigenvalues),) * 2))[0]
    return q * np.sqrt(rows * np.asarray(eigenvalues)) @ turn


def test_chosen_spectra():
    """Inputs and gradients of one layer with known covariances."""
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, name="d")])
    x = with_spectrum(20, [16.0, 9.0, 4.0, 2.0, 1.0]).astype("float32")
    g = with_spectrum(20, [8.0, 4.0, 2.0], seed=1)
    # The loss of a sample is sum((h - y)^2) / 3.
    y = array(model(x)) - 1.5 * g
    before = state(model)
    found = conditioning(model, x, y.astype("float32"), "mse")
    assert same(before, state(model))
    assert found.percentiles == (1.0, 0.8, 0.5)
    (entry,) = found
    assert entry.name == "d" and entry.rows == 20
    assert np.allclose(entry.inputs, [16, 9, 4, 2, 1], rtol=1e-5)
    assert np.allclose(entry.gradients, [8, 4, 2], rtol=1e-4)
    assert np.isclose(entry.largest, 128, rtol=1e-4)
    # The 5th, 4th, 3rd of five; the 3rd, 3rd, 2nd of three; 15th, 12th, 8th.
    assert np.allclose(entry.input_condition, [16, 8, 4], rtol=1e-4)
    assert np.allclose(entry.gradient_condition, [4, 4, 2], rtol=1e-4)
    products = np.sort(np.outer([16, 9, 4, 2, 1], [8, 4, 2]).ravel())[::-1]
    expected = 128 / products[[14, 11, 7]]
    assert np.allclose(entry.condition, expected, rtol=1e-4)
    # Only ratios matter: twice the inputs, the same condition.
    doubled = conditioning(model, 2 * x, y, "mse", percentiles=1.0)
    assert np.allclose(doubled[0].input_condition, [16], rtol=1e-4)
    assert np.allclose(doubled[0].inputs, 4 * entry.inputs, rtol=1e-4)


def test_whitened_inputs():
    """A condition of 1 behind a whitening layer, far from it before."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, name="before"),
            kn.layers.DecorrelatedBatchNormalization(epsilon=1e-6),
            layers.Dense(2, name="after"),
        ]
    )
    x = with_spectrum(40, [100.0, 10.0, 1.0, 0.1]).astype("float32")
    y = np.arange(40) % 2
    loss = "sparse_categorical_crossentropy"
    before, after = conditioning(model, x, y, loss, percentiles=1.0)
    assert np.isclose(before.input_condition[0], 1000, rtol=1e-3)
    assert after.input_condition[0] <= 1.01


def explicit_patches(x, size, stride, dilation, padding):
    """Of images, by loops."""
    reach = (size - 1) * dilation
    if padding == "same":
        steps = -(-x.shape[1] // stride)
        total = max((steps - 1) * stride + reach + 1 - x.shape[1], 0)
        sides = (total // 2, total - total // 2)
        x = np.pad(x, [(0, 0), sides, sides, (0, 0)])
    steps = (x.shape[1] - reach - 1) // stride + 1
    found = []
    for image in x:
        for i in range(steps):
            for j in range(steps):
                a, b = i * stride, j * stride
                window = image[a : a + reach + 1, b : b + reach + 1]
                found.append(window[::dilation, ::dilation].ravel())
    return np.array(found)


@pytest.mark.parametrize(
    "padding, stride, dilation", [("same", 2, 1), ("valid", 1, 2)]
)
def test_patches(padding, stride, dilation):
    """Patches times the kernel are the convolution; rows as by loops."""
    options = {"strides": stride, "dilation_rate": dilation}
    convolution = layers.Conv2D(2, 3, padding=padding, **options, name="c")
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), convolution, layers.Flatten()]
    )
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 6, 6, 2)).astype("float32")
    h = array(model(x))
    (entry,) = conditioning(model, x, np.zeros(h.shape), "mse")
    rows = explicit_patches(x, 3, stride, dilation, padding)
    outputs = rows @ np.reshape(array(convolution.kernel), (-1, 2))
    assert np.allclose(np.reshape(h, (-1, 2)), outputs, atol=1e-5)
    expected = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    assert entry.rows == len(rows)
    assert np.allclose(entry.inputs, expected, atol=1e-5 * expected[0])
    g = 2 * outputs / h.shape[1]
    expected = np.linalg.eigvalsh(g.T @ g / len(g))[::-1]
    assert np.allclose(entry.gradients, expected, rtol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize("kind", ["causal", "volume"])
def test_other_convolutions(kind):
    """Patches times the kernel are the convolution."""
    random = np.random.default_rng(0)
    if kind == "volume":
        layer = layers.Conv3D(2, (2, 1, 2), strides=(1, 2, 1))
        x = random.normal(size=(2, 3, 3, 3, 2))
    else:
        layer = layers.Conv1D(2, 3, padding="causal", dilation_rate=2)
        x = random.normal(size=(2, 7, 3))
    h = array(layer(x.astype("float32")))
    kernel = np.reshape(array(layer.kernel), (-1, 2))
    rows = input_rows(layer, x)
    assert np.allclose(rows @ kernel, np.reshape(h, (-1, 2)), atol=1e-5)


@pytest.mark.once
def test_patches_with_the_channels_first():
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3))
    last = layers.Conv2D(2, 2, padding="same")
    first = layers.Conv2D(2, 2, padding="same", data_format="channels_first")
    found = input_rows(first, np.moveaxis(x, -1, 1))
    assert np.array_equal(found, input_rows(last, x))


def test_one_sample_and_the_gradient_of_the_kernel():
    """F is then the square of the kernel's gradient, of rank 1."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="tanh", name="a"),
            kn.layers.WeightNormalization(
                layers.Dense(2, activation="softplus", name="b")
            ),
            layers.GaussianNoise(0.1, seed=3),
        ]
    )
    x, y = np.array([[1.0, -2.0, 0.5]]), np.array([[3.0, -1.0]])
    found = conditioning(model, x, y, "mse", bias=True)
    assert [entry.name.split("/")[-1] for entry in found] == ["a", "b"]
    first = model.layers[0]
    loss = ModelLoss(model, x, y, "mse", variables=[first.kernel, first.bias])
    _, gradients = autodiff.gradients(loss, loss.values)
    square = sum(np.sum(array(g) ** 2) for g in gradients)
    assert square > 1e-6
    assert np.isclose(found[0].largest, square, rtol=1e-4)
    assert np.sum(found[0].inputs > 0) == np.sum(found[0].gradients > 0) == 1
    assert np.all(found[0].condition == np.inf)


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="d")])
    x, y = np.eye(2, dtype="float32"), np.ones((2, 1), "float32")
    found = conditioning(model, x, y, "mse", percentiles=(1.0, 0.5))
    axes = found.plot()
    assert found.plot(axes) is axes
    assert len(axes.get_lines()) == 8
    assert [t.get_text() for t in axes.get_xticklabels()] == ["d"]


@pytest.mark.once
def test_errors():
    model = keras.Sequential(
        [keras.Input((4, 2)), layers.Conv1D(2, 1, groups=2, name="groups")]
    )
    x = np.ones((2, 4, 2), "float32")
    with pytest.raises(ValueError, match="must have layers that can be"):
        conditioning(model, x, x, "mse")
    for shares in (0.0, 1.1, [], (0.5, -1)):
        with pytest.raises(ValueError, match="`percentiles` must be shares"):
            conditioning(model, x, x, "mse", percentiles=shares)
