"""Network deconvolution: dense, convolutional, and of channels.

What every layer promises is tested in tests/contract.
"""

import keras
import numpy as np
import pytest
from keras import ops

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import ChannelDeconvolution
from keras_norm.layers import DeconvolutionConv2D
from keras_norm.layers import DeconvolutionDense
from keras_norm.layers import DecorrelatedBatchNormalization
from oracles import ORACLES

BACKEND = keras.backend.backend()
JAX = BACKEND == "jax"


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def values(layer):
    return {w.name: array(w).astype("float64") for w in layer.weights}


def trained(layer, x, steps=2):
    """The layer after some batches, its state far from the initial one."""
    layer.build(x.shape)
    for step in range(steps):
        inference_free(layer, (1.0 + step) * x)
    return layer


def inference_free(layer, x):
    """One training call, compiled on JAX, that moves the state."""
    upstream = np.zeros(layer.compute_output_shape(x.shape))
    return gradients(layer, [x], upstream, jit=JAX).outputs


def oracle(layer, x, training=True):
    config = {
        k: v
        for k, v in layer.get_config().items()
        if not k.endswith(("_initializer", "_regularizer", "_constraint"))
    }
    if "activation" in config:
        config["activation"] = None
    at = values(layer)
    name = type(layer).__name__
    return ORACLES[name]([x], config, at, at, training)


# What it is equal to ----------------------------------------------------------


def test_one_entry_is_a_standardization_of_everything():
    x = random(4, 5, 4, 6)
    layer = DeconvolutionConv2D(3, 1, block=1, sampling_stride=1, iterations=0)
    y = inference_free(layer, x)
    whitened = (x - x.mean()) / np.sqrt(x.var() + layer.epsilon)
    close(y, whitened @ array(layer.kernel)[0, 0], x.size)


@pytest.mark.parametrize("dense", [True, False])
def test_all_channels_are_a_whitened_input(dense):
    x = random(8, 5, 4, 6)
    if dense:
        layer = DeconvolutionDense(3, iterations=25)
    else:
        layer = DeconvolutionConv2D(3, 1, iterations=25, sampling_stride=1)
    zca = DecorrelatedBatchNormalization(
        6, epsilon=1e-5, center=False, scale=False
    )
    y = inference_free(layer, x)
    kernel = array(layer.kernel).reshape(6, 3)
    close(y, inference_free(zca, x) @ kernel, x.size)


@pytest.mark.parametrize("block, rows", [(6, 400), (2, 400), (6, 4)])
def test_rows_become_white(block, rows):
    """Few rows: white where there are any, nothing beyond."""
    x = random(rows, 6) @ random(6, 6, seed=1)
    layer = DeconvolutionDense(
        6, use_bias=False, block=block, iterations=40, epsilon=1e-4
    )
    layer.build(x.shape)
    layer.kernel.assign(np.eye(6))
    y = inference_free(layer, x.astype("float32")).reshape(-1, block)
    close(y.mean(0), np.zeros(block), scale=30.0)
    variances = np.linalg.eigvalsh(y.T @ y / len(y))
    seen = min(block, len(y) - 1)
    np.testing.assert_allclose(variances[-seen:], 1.0, atol=5e-3)
    np.testing.assert_allclose(variances[:-seen], 0.0, atol=5e-3)


def test_channel_deconvolution_whitens_centred_data():
    x = random(100, 6)
    x = x - x.mean(0)
    layer = ChannelDeconvolution(6, iterations=25, epsilon=1e-4)
    y = inference_free(layer, x)
    np.testing.assert_allclose(y.T @ y / 100, np.eye(6), atol=1e-3)


def test_channel_deconvolution_copies_the_first_batch():
    layer = ChannelDeconvolution(3, sampling_stride=1)
    for step, x in enumerate(
        (random(6, 5, 8), random(6, 5, 8, seed=1, shift=2))
    ):
        _, state = oracle(layer, x) if layer.built else (None, None)
        inference_free(layer, x)
        if state is None:
            mean = x[..., :6].reshape(-1, 3, 2).mean((0, 2))
            close(array(layer.moving_mean), mean)
            rest = x[..., 6:]
            close(array(layer.moving_rest_variance), rest.var(ddof=1))
        else:
            for name, value in state.items():
                if name in values(layer) and name != "gamma":
                    close(values(layer)[name], value, x.size)
        assert array(layer.step) == step + 1


# Inference --------------------------------------------------------------------

CONVOLUTIONS = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"padding": "same", "strides": (2, 1), "kernel_size": (2, 3)},
    "dilation": {"padding": "same", "dilation_rate": 2},
    "blocks": {"block": 2, "use_bias": False},
    "groups": {"groups": 2, "activation": "relu"},
    "first": {"data_format": "channels_first", "padding": "same"},
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_inference_is_one_plain_convolution(case):
    options = {"filters": 4, "kernel_size": 3, **CONVOLUTIONS[case]}
    layer = trained(DeconvolutionConv2D(**options), random(5, 6, 5, 6))
    x = random(3, 6, 5, 6, seed=2)
    kernel, bias = layer.folded_weights()
    options.pop("block", None)
    plain = keras.layers.Conv2D(**{**options, "use_bias": True})
    first = options.pop("data_format", None)
    if first:
        # TensorFlow's own convolution of such data needs a GPU.
        plain = keras.layers.Conv2D(**options)
    last = np.moveaxis(x, 1, -1) if first else x
    plain.build(last.shape)
    plain.set_weights([array(kernel), array(bias)])
    y = inference(plain, [last])
    expected = np.moveaxis(y, -1, 1) if first else y
    close(inference(layer, [x]), expected, 54 * 50)


def test_inference_of_a_dense_layer_is_one_plain_product():
    layer = trained(DeconvolutionDense(5, block=3), random(9, 6))
    plain = keras.layers.Dense(5)
    plain.build((None, 6))
    plain.set_weights([array(w) for w in layer.folded_weights()])
    x = random(3, 6, seed=2)
    close(inference(layer, [x]), inference(plain, [x]))


def operations(layer, shape):
    """Names of the operations of the inference graph."""
    if JAX:
        import jax

        call = jax.make_jaxpr(lambda w, s, x: layer.stateless_call(w, s, x)[0])
        graph = call(
            [w.value for w in layer.trainable_variables],
            [v.value for v in layer.non_trainable_variables],
            np.zeros(shape, "float32"),
        )
        return str(graph).replace("[", " ").split()
    import tensorflow as tf

    spec = tf.TensorSpec(shape, "float32")
    graph = tf.function(lambda x: layer(x)).get_concrete_function(spec).graph
    return [o.type for o in graph.get_operations()]


@pytest.mark.skipif(BACKEND == "torch", reason="it has no graph")
def test_inference_graph_has_one_convolution():
    layer = DeconvolutionConv2D(4, 3, padding="same")
    layer.build((2, 6, 5, 3))
    found = operations(layer, (2, 6, 5, 3))
    name = "conv_general_dilated" if JAX else "Conv2D"
    assert found.count(name) == 1


# Keras' layers ----------------------------------------------------------------


class Net(keras.Model):
    """Files keep weights by the names of attributes."""

    def __init__(self, conv, dense):
        super().__init__()
        self.conv, self.dense = conv, dense

    def call(self, inputs, training=None):
        y = self.conv(inputs)
        return self.dense(keras.ops.reshape(y, (-1, y.shape[-1])))


def test_weights_of_keras_load(tmp_path):
    x = random(2, 5, 4, 6)
    theirs = Net(keras.layers.Conv2D(4, 3, groups=2), keras.layers.Dense(5))
    expected = array(theirs(x))
    theirs.save_weights(tmp_path / "net.weights.h5")
    ours = Net(DeconvolutionConv2D(4, 3, groups=2), DeconvolutionDense(5))
    ours(x)
    ours.load_weights(tmp_path / "net.weights.h5")
    # The initial state whitens nothing.
    close(array(ours(x)), expected)
    own = [w.name for w in ours.conv.weights]
    assert own[:2] == [w.name for w in theirs.conv.weights]
    # Its own weights load as well, state included.
    ours(2 * x, training=True)
    ours.save_weights(tmp_path / "own.weights.h5")
    again = Net(DeconvolutionConv2D(4, 3, groups=2), DeconvolutionDense(5))
    again(x)
    again.load_weights(tmp_path / "own.weights.h5")
    close(array(again(x)), array(ours(x)))


def test_options_of_keras():
    layer = DeconvolutionConv2D(
        4,
        3,
        activation="relu",
        kernel_initializer="ones",
        bias_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
        bias_constraint="non_neg",
        activity_regularizer="l1",
    )
    layer = DeconvolutionConv2D.from_config(layer.get_config())
    y = layer(random(2, 5, 4, 6))
    assert array(y).min() >= 0
    assert isinstance(layer.bias.constraint, keras.constraints.NonNeg)
    assert layer.activation is keras.activations.relu
    penalties = sorted(float(array(loss)) for loss in layer.losses)
    assert 0.5 * array(layer.kernel).size in penalties
    assert len(penalties) == 2


def test_channels_first_is_channels_last_transposed():
    x = random(4, 6, 5, 6)
    options = {"padding": "same", "strides": 2, "sampling_stride": 1}
    last = DeconvolutionConv2D(4, 3, **options)
    first = DeconvolutionConv2D(4, 3, data_format="channels_first", **options)
    moved = np.moveaxis(x, -1, 1)
    last.build(x.shape)
    first.build(moved.shape)
    first.set_weights(last.get_weights())
    upstream = random(4, 3, 3, 4, seed=1)
    a = gradients(last, [x], upstream, jit=JAX)
    b = gradients(first, [moved], np.moveaxis(upstream, -1, 1), jit=JAX)
    assert b.outputs.shape == first.compute_output_shape(moved.shape)
    close(np.moveaxis(b.outputs, 1, -1), a.outputs, x.size)
    close(np.moveaxis(b.inputs[0], 1, -1), a.inputs[0], x.size)
    close(b.weights["kernel"], a.weights["kernel"], x.size)
    close(np.moveaxis(inference(first, [moved]), 1, -1), inference(last, [x]))


# Hard inputs ------------------------------------------------------------------


def hard(case):
    x = random(6, 5, 5, 6)
    if case == "fewer rows than features":
        return x[:1, :3]
    if case == "constant channel":
        x[..., 2] = 3.0
    if case == "duplicated channel":
        x[..., 4] = x[..., 1]
    if case == "condition 1e6":
        scale = 10.0 ** np.linspace(-3, 0, 6)
        mix = np.linalg.qr(random(6, 6, seed=3))[0]
        x = (x @ mix * scale) @ mix.T
    if case == "far from zero":
        x = x + 1e4
    return x.astype("float32")


HARD = [
    "fewer rows than features",
    "constant channel",
    "duplicated channel",
    "condition 1e6",
    "far from zero",
]


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize(
    "make",
    [
        lambda: DeconvolutionConv2D(4, 3, sampling_stride=1),
        lambda: DeconvolutionDense(4),
        lambda: ChannelDeconvolution(6, sampling_stride=1),
    ],
    ids=["conv", "dense", "channel"],
)
def test_hard_inputs(make, case):
    x, layer = hard(case), make()
    layer.build(x.shape)
    shape = layer.compute_output_shape(x.shape)
    expected, state = oracle(layer, x)
    found = gradients(layer, [x], random(*shape, seed=2), jit=JAX)
    close(found.outputs, expected, x.size * 10)
    for name in ("moving_mean", "moving_matrix"):
        # A covariance is as exact as its largest entry.
        close(values(layer)[name], state[name], x.size * 100)
    for gradient in (*found.inputs, *found.weights.values()):
        assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(inference(layer, [x])))


def test_half_precision_computes_in_float32():
    x = random(4, 6, 5, 6).astype("float16")
    layer = DeconvolutionConv2D(4, 3, dtype="mixed_float16")
    same = DeconvolutionConv2D(4, 3)
    layer.build(x.shape)
    same.build(x.shape)
    same.set_weights(layer.get_weights())
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    expected = array(same(x.astype("float32"), training=True))
    close(array(y), expected, dtype="float16")
    close(values(layer)["moving_matrix"], values(same)["moving_matrix"])


def test_input_smaller_than_the_kernel():
    layer = DeconvolutionConv2D(4, 3, dilation_rate=2)
    with pytest.raises(ValueError, match="smaller than the kernel.*Received"):
        layer.build((2, 4, 9, 6))
    with pytest.raises(ValueError, match="`groups` must divide"):
        DeconvolutionConv2D(4, 3, groups=4).build((2, 4, 9, 6))
    with pytest.raises(ValueError, match="`strides` and `dilation_rate`"):
        DeconvolutionConv2D(4, 3, strides=2, dilation_rate=2)


@pytest.mark.parametrize("units", [4])
def test_unknown_features(units):
    with pytest.raises(ValueError, match="defined dimension"):
        DeconvolutionDense(units).build((2, None))
