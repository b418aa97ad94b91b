"""Mode normalization: soft parts of the batch."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.method import values
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import ModeNormalization
from oracles import ORACLES

SHAPE = (6, 4, 3, 8)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, SHAPE).astype("float32")


@pytest.mark.parametrize("modes", [1, 3])
def test_alike_modes_are_batch_normalization(modes):
    # One mode, or gates that do not look at the data.
    layer = ModeNormalization(modes, gate_initializer="zeros")
    twin = BatchNormalization(momentum=0.9, epsilon=1e-5)
    x, upstream = data(), data(1)
    ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
    close(ours.outputs, theirs.outputs, entries=x.size)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)
    for k in range(modes):
        close(numpy(layer.moving_mean)[k], numpy(twin.moving_mean), x.size)
    # The state holds E[x^2]: the means of two steps are apart.
    if modes > 1:
        return
    close(numpy(layer.moving_mean)[0], 0.1 * x.mean((0, 1, 2)), x.size)
    second = 0.9 + 0.1 * np.mean(x.astype("float64") ** 2, (0, 1, 2))
    mean = numpy(layer.moving_mean)[0].astype("float64")
    close(numpy(layer.moving_variance)[0] + mean**2, second, x.size)


def test_the_order_of_the_modes_does_not_matter():
    layer = ModeNormalization(3)
    layer.build(SHAPE)
    scramble(layer)
    x, weights = data(), layer.get_weights()
    y = [numpy(layer(x, training=t)) for t in (False, True)]
    order = [2, 0, 1]
    gamma, beta, kernel, bias, mean, variance = weights
    layer.set_weights(
        [
            gamma,
            beta,
            kernel[:, order],
            bias[order],
            mean[order],
            variance[order],
        ]
    )
    for t in (False, True):
        close(numpy(layer(x, training=t)), y[t], entries=x.size)


def test_modes_that_are_far_apart():
    # One around 0, one around 1e4: each as exact as if it were alone.
    layer = ModeNormalization(2)
    layer.build(SHAPE)
    scramble(layer)
    kernel = np.zeros((8, 2), "float32")
    kernel[0] = -1e-2, 1e-2
    layer.gate_kernel.assign(kernel)
    layer.gate_bias.assign([50.0, -50.0])
    far = np.arange(6).reshape(-1, 1, 1, 1) % 2
    x = (data() + 1e4 * far).astype("float32")
    weights, state = values(layer)
    y = numpy(layer(x, training=True))
    oracle = ORACLES["ModeNormalization"]
    expected, _ = oracle([x], {}, weights, state, True)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
    # And in inference, by what is kept of them.
    layer.moving_mean.assign(np.stack([np.full(8, 1.0), np.full(8, 1e4)]))
    weights, state = values(layer)
    expected, _ = oracle([x], {}, weights, state, False)
    np.testing.assert_allclose(numpy(layer(x)), expected, rtol=0, atol=1e-4)


def test_a_mode_without_samples_keeps_its_state():
    layer = ModeNormalization(2, gate_initializer="zeros")
    layer.build(SHAPE)
    layer.gate_bias.assign([0.0, -1e3])
    found = gradients(layer, [data()], data(1))
    assert np.all(np.isfinite(found.outputs))
    assert np.all(np.isfinite(found.inputs[0]))
    mean, variance = (numpy(v) for v in layer.non_trainable_weights)
    np.testing.assert_array_equal(mean[1], np.zeros(8))
    np.testing.assert_array_equal(variance[1], np.ones(8))
    assert np.all(mean[0] != 0)
    # Nor is there anything in samples without positions.
    state = mean, variance
    layer(data()[:, :0], training=True)
    for v, before in zip(layer.non_trainable_weights, state, strict=True):
        np.testing.assert_array_equal(numpy(v), before)


def test_gates_start_nearly_equal():
    kernels = []
    for seed in (3, 3, 4):
        layer = ModeNormalization(4, seed=seed)
        layer.build((None, 256))
        kernels.append(numpy(layer.gate_kernel))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.any(kernels[0] != kernels[2])
    # 1024 entries: mean and deviation to four standard errors.
    assert abs(kernels[0].mean() - 0.25) < 4 * 0.01 / 32
    assert abs(kernels[0].std() - 0.01) < 4 * 0.01 / np.sqrt(2048)


def test_errors():
    for modes in (0, -1, 2.0, None, True):
        with pytest.raises(ValueError, match="`num_modes` must be"):
            ModeNormalization(modes)
