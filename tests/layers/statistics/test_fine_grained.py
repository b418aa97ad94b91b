"""Fine-grained batch normalization and its convolution."""

import keras
import numpy as np
import pytest
from keras import ops

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm import layers

JAX = keras.backend.backend() == "jax"


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def trained(layer, x, steps=2):
    """The layer with random weights, after some batches."""
    if not layer.built:
        layer.build(x.shape)
    for i, variable in enumerate(layer.trainable_variables):
        noise = 0.3 * random(*variable.shape, seed=40 + i, shift=0.0)
        variable.assign(noise + (variable.name == "gamma"))
    upstream = np.zeros(layer.compute_output_shape(x.shape))
    for step in range(steps):
        y = gradients(layer, [(1.0 + step) * x], upstream, jit=JAX).outputs
    return y


CASES = {
    "valid": {"kernel_size": 3, "groups": 2},
    "same": {"kernel_size": (3, 2), "groups": 3, "padding": "same"},
    "strided": {"kernel_size": 3, "groups": 2, "strides": 2},
    "dilated": {"kernel_size": 2, "groups": 6, "dilation_rate": 2},
    "bias": {"kernel_size": 3, "groups": 2, "use_bias": True},
    "plain": {"kernel_size": 3, "groups": 2, "scale": False, "center": False},
}


@pytest.mark.parametrize("case", CASES)
def test_convolution_is_one_in_groups_and_the_normalization(case):
    """And inference is one convolution."""
    options = CASES[case]
    layer = layers.FineGrainedConv2D(4, activation="softplus", **options)
    x = random(4, 7, 6, 6)
    groups = options["groups"]
    arguments = {
        key: options[key]
        for key in ("kernel_size", "strides", "padding", "dilation_rate")
        if key in options
    }
    affine = {k: options[k] for k in ("scale", "center") if k in options}
    normalization = layers.FineGrainedBatchNormalization(groups, **affine)
    y = trained(layer, x, 1)
    parts = np.split(array(layer.kernel), groups, axis=2)
    kernel = np.concatenate(parts, axis=-1)
    bias = array(layer.bias) if layer.use_bias else 0.0
    arguments.pop("kernel_size")
    h = ops.conv(x, kernel, data_format="channels_last", **arguments)
    h = array(h) + bias
    normalization.build(h.shape)
    learned = [w for w in layer.trainable_variables if w.name in "gammabeta"]
    for a, b in zip(normalization.weights, learned, strict=False):
        a.assign(array(b))
    z = normalization(h, training=True)
    # Sums of groups of 54 products.
    close(y, array(ops.softplus(z)), 16 * x.size)
    close(array(layer.moving_mean), array(normalization.moving_mean), x.size)
    inferred = inference(layer, [x])
    close(inferred, array(ops.softplus(normalization(h))), 16 * x.size)
    fused = layer.fuse(name="fused")
    assert type(fused) is keras.layers.Conv2D
    assert fused.name == "fused"
    assert np.max(np.abs(inference(fused, [x]) - inferred)) <= 1e-5


def test_one_group_is_batch_normalization():
    x, upstream = random(6, 5, 4), random(6, 5, 4, seed=1)
    layer = layers.FineGrainedBatchNormalization(1)
    same = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    found = []
    for one in (layer, same):
        one.build(x.shape)
        found.append(gradients(one, [x], upstream, jit=JAX))
        close(array(one.moving_variance), array(layer.moving_variance))
    close(found[0].outputs, found[1].outputs)
    close(found[0].inputs[0], found[1].inputs[0])
    for a, b in zip(
        found[0].weights.values(), found[1].weights.values(), strict=True
    ):
        close(a.ravel(), b, x.size)


def test_groups_are_normalized_and_added():
    x = random(6, 5, 8)
    layer = layers.FineGrainedBatchNormalization(2, center=False)
    layer.build(x.shape)
    gamma = random(2, 4)
    layer.gamma.assign(gamma)
    upstream = np.zeros((6, 5, 4))
    y = gradients(layer, [x], upstream, jit=JAX).outputs
    z = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + layer.epsilon)
    close(y, gamma[0] * z[..., :4] + gamma[1] * z[..., 4:], x.size)
    first = layers.FineGrainedBatchNormalization(2, axis=1, center=False)
    first.build((6, 8, 5))
    first.gamma.assign(gamma)
    moved = np.moveaxis(x, -1, 1)
    y1 = gradients(first, [moved], np.zeros((6, 4, 5)), jit=JAX).outputs
    close(np.moveaxis(y1, 1, -1), y, x.size)


def test_channels_first():
    last = layers.FineGrainedConv2D(4, 3, groups=2)
    first = layers.FineGrainedConv2D(
        4, 3, groups=2, data_format="channels_first"
    )
    x = random(4, 5, 6, 6)
    moved = np.moveaxis(x, -1, 1)
    a, b = trained(last, x), trained(first, moved)
    close(np.moveaxis(b, 1, -1), a, x.size)
    inferred = np.moveaxis(inference(first, [moved]), 1, -1)
    close(inferred, inference(last, [x]), x.size)
    assert first.fuse().data_format == "channels_first"


def test_far_from_zero():
    shift = 1e4
    x = random(8, 5, 6, 6, shift=shift)
    layer = layers.FineGrainedConv2D(4, 3, groups=2)
    y = trained(layer, x, 1).astype("float64")
    wide, kernel = x.astype("float64"), array(layer.kernel).astype("float64")
    expected = np.zeros((8, 3, 4, 4))
    gamma = array(layer.gamma)
    for g in range(2):
        h = np.zeros(expected.shape)
        for i in range(3):
            for j in range(3):
                seen = wide[:, i : i + 3, j : j + 4, 3 * g : 3 * g + 3]
                h += seen @ kernel[i, j, 3 * g : 3 * g + 3]
        z = (h - h.mean((0, 1, 2))) / np.sqrt(h.var((0, 1, 2)) + 1e-5)
        expected += gamma[g] * z
    assert np.max(np.abs(y - expected - array(layer.beta))) <= 1e-4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    """As of CrossIterationConv2D; two normalized sums are added."""
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    options = {"groups": 2, "padding": "same"}
    half = layers.FineGrainedConv2D(4, 3, dtype=f"mixed_{dtype}", **options)
    same = layers.FineGrainedConv2D(4, 3, **options)
    x = 100 * random(4, 5, 6, 6) + np.float32(7e4)
    half.build(x.shape)
    same.build(x.shape)
    same.set_weights(half.get_weights())
    y, expected = half(x, training=True), same(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    y = array(ops.cast(y, "float32"))
    assert np.max(np.abs(y - array(expected))) <= 24 * unit
    for a, b in zip(half.weights, same.weights, strict=True):
        assert a.dtype == "float32"
        scale = np.max(np.abs(array(b)))
        assert np.max(np.abs(array(a) - array(b))) <= 12 * unit * scale
    assert half.fuse().compute_dtype == dtype


def test_groups_are_checked():
    x = random(4, 5, 6, 6)
    for layer in (
        layers.FineGrainedBatchNormalization(4),
        layers.FineGrainedConv2D(3, 3, groups=4),
    ):
        with pytest.raises(ValueError, match="`groups` must divide"):
            layer(x)
    for groups in (0, 2.0):
        with pytest.raises(ValueError, match="`groups`.*Received"):
            layers.FineGrainedBatchNormalization(groups)
        with pytest.raises(ValueError, match="`groups`.*Received"):
            layers.FineGrainedConv2D(3, 3, groups=groups)
    with pytest.raises(ValueError, match="must be built"):
        layers.FineGrainedConv2D(3, 3).fuse()
