"""Centering by the running mean, and the dense layer that makes up for it."""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import MeanNormalizedDense
from keras_norm.layers import RunningMeanCentering

JAX = keras.backend.backend() == "jax"


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def array(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


def moved(layer, x, steps=2):
    """The layer after some batches."""
    for step in range(steps):
        layer(x + step, training=True)
    return layer


@pytest.mark.parametrize("shift", [0.5, 1e4])
def test_centering_has_the_gradient_of_the_identity(shift):
    x = random(5, 4, 3, shift=shift)
    layer = moved(RunningMeanCentering(momentum=0.9), x)
    mean = array(layer.moving_mean)
    upstream = random(5, 4, 3, seed=1)
    inferred = inference(layer, [x])
    found = gradients(layer, [x], upstream, jit=JAX)
    np.testing.assert_array_equal(found.inputs[0], upstream)
    # As it was before the step, in training and inference.
    close(found.outputs, x.astype("float64") - mean)
    np.testing.assert_allclose(found.outputs, inferred, atol=1e-6)
    expected = 0.9 * mean + 0.1 * x.mean((0, 1))
    np.testing.assert_allclose(array(layer.moving_mean), expected, rtol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shift", [0.5, 1e4])
def test_a_moved_mean_changes_no_output(use_bias, shift):
    x, other = random(16, 6, shift=shift), random(9, 6, seed=2)
    layer = MeanNormalizedDense(5, use_bias=use_bias, momentum=0.5)
    plain = keras.layers.Dense(5, use_bias=use_bias)
    plain.build(x.shape)
    layer.build(x.shape)
    plain.set_weights(layer.get_weights()[: len(plain.weights)])
    expected = array(plain(other))
    close(array(layer(other)), expected)
    for step in range(4):
        layer(x + 3 * step, training=True)
        # The rounding of sums as large as the mean.
        close(array(layer(other)), expected, scale=shift)
    assert np.all(np.abs(array(layer.moving_mean)) > 0.4 * shift)


def test_what_changes_is_the_gradient_of_the_kernel():
    x = random(16, 6)
    layer = moved(MeanNormalizedDense(5, momentum=0.5), x)
    mean = array(layer.moving_mean)
    upstream = random(16, 5, seed=1)
    found = gradients(layer, [x], upstream, jit=JAX)
    close(found.weights["kernel"], (x - mean).T @ upstream, 16)
    close(found.weights["bias"], upstream.sum(0), 16)
    close(found.inputs[0], upstream @ array(layer.kernel).T)


def test_a_step_is_that_of_the_article():
    """W and b by the centred input, then b <- b + W (new mean - old mean)."""
    x, rate = random(16, 6), 0.1
    layer = moved(MeanNormalizedDense(5, momentum=0.5), x, 1)
    w = array(layer.kernel).astype("float64")
    b = array(layer.bias).astype("float64") + array(layer.compensation)
    mean = array(layer.moving_mean).astype("float64")
    target = random(16, 5, seed=3)
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(rate), "mse")
    model.train_on_batch(x, target)
    residual = 2 * ((x - mean) @ w + b - target) / target.size
    new = 0.5 * mean + 0.5 * x.mean(0)
    b += (new - mean) @ w
    w -= rate * (x - mean).T @ residual
    b -= rate * residual.sum(0)
    close(array(layer.kernel), w)
    close(array(layer.bias) + array(layer.compensation), b)


def test_weights_of_keras_load(tmp_path):
    plain, layer = keras.layers.Dense(5), MeanNormalizedDense(5)
    store = {}
    plain.build((None, 6))
    layer.build((None, 6))
    plain.save_own_variables(store)
    layer.load_own_variables(store)
    x = random(3, 6)
    close(array(layer(x)), array(plain(x)))
    with pytest.raises(
        ValueError, match="objects could not be loaded|expected"
    ):
        layer.load_own_variables({"0": np.zeros((6, 5))})


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_learns(dtype):
    x = random(32, 6, shift=2.0)
    layer = MeanNormalizedDense(2, momentum=0.5, dtype=dtype)
    centering = RunningMeanCentering(momentum=0.5, dtype=dtype)
    model = keras.Sequential([centering, layer])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    target = (x - 2.0) @ random(6, 2, seed=1)
    history = model.fit(x, target, epochs=20, verbose=0, shuffle=False)
    losses = history.history["loss"]
    assert losses[-1] < 0.5 * losses[0]
