"""Dynamic instance and adaptive convolution normalization: known filters.

What every layer promises is tested in tests/contract.
"""

import keras
import numpy as np
import pytest

from contract.test_errors import refuses
from contract.tolerances import close
from keras_norm.layers import AdaptiveConvolutionNormalization
from keras_norm.layers import AdaptiveInstanceNormalization
from keras_norm.layers import DynamicInstanceNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import LocalContextNormalization

SHAPE = (6, 4, 3, 8)
LAYERS = [DynamicInstanceNormalization, AdaptiveConvolutionNormalization]


def data(*shape, seed=0):
    values = np.random.default_rng(seed).normal(0.5, 1.0, shape)
    return values.astype("float32")


def called(layer, *inputs):
    return keras.ops.convert_to_numpy(layer(*inputs))


def filled(layer, filters, x=None):
    """The layer with the same filters (places, width, C) for every sample."""
    layer.build([SHAPE, (6, 4)])
    layer.filter_map.bias.assign(np.reshape(filters, -1).astype("float32"))
    return layer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "groups": 2},
        {"groups": 1, "hidden_units": 4},
    ],
    ids=str,
)
def test_starts_as_instance_normalization(options):
    x = data(*SHAPE)
    y = called(DynamicInstanceNormalization(**options), x, data(6, 4))
    close(y, called(InstanceNormalization(), x))


@pytest.mark.parametrize("kernel_size", [1, (7, 5)])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda cls: cls.__name__)
def test_points_of_a_style_are_adaptive_instance(layer, kernel_size):
    # A window of 7 x 5 covers 4 x 3 from everywhere.
    if layer is AdaptiveConvolutionNormalization and kernel_size == 1:
        kernel_size = (8, 9)
    x, deviation, mean = data(*SHAPE), data(6, 8, seed=1), data(6, 8, seed=2)
    layer = layer(kernel_size=kernel_size)
    style = np.concatenate([deviation, mean], axis=-1)
    layer.build([SHAPE, style.shape])
    first = keras.ops.convert_to_numpy(layer.filter_map.bias)
    eye, zero = np.eye(8, dtype="float32"), np.zeros((8, 8), "float32")
    # The filter that returns the data, times the deviation.
    kernel = np.reshape(first, (-1, 8))[:, None] * eye[:, None, :].swapaxes(
        0, 1
    )
    kernel = np.reshape(np.transpose(kernel, (1, 0, 2)), (8, -1))
    layer.filter_map.kernel.assign(np.concatenate([kernel, 0.0 * kernel]))
    layer.filter_map.bias.assign(0.0 * first)
    layer.offset_map.kernel.assign(np.concatenate([zero, eye]))
    same = AdaptiveInstanceNormalization("generated")
    close(called(layer, x, style), called(same, x, deviation, mean))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_one_filter_for_all_is_a_convolution(groups):
    x, filters = data(*SHAPE), data(9, 8 // groups, 8, seed=3)
    layer = DynamicInstanceNormalization(3, None if groups == 8 else groups)
    y = called(filled(layer, filters), x, data(6, 4))
    convolution = keras.layers.Conv2D(
        8, 3, padding="same", groups=groups, use_bias=False
    )
    convolution.build(SHAPE)
    convolution.kernel.assign(filters.reshape(convolution.kernel.shape))
    normalized = InstanceNormalization()(x)
    close(y, called(convolution, normalized), entries=9 * 8)


def test_filters_that_mix_nothing_are_depthwise():
    x, filters = data(*SHAPE), data(9, 1, 8, seed=3)
    full = filters * np.eye(8)
    depthwise = filled(AdaptiveConvolutionNormalization(), filters)
    mixing = filled(AdaptiveConvolutionNormalization(3, False), full)
    style = data(6, 4)
    close(called(mixing, x, style), called(depthwise, x, style), entries=9)


def test_starts_as_local_normalization():
    x = data(*SHAPE)
    y = called(AdaptiveConvolutionNormalization(), x, data(6, 4))
    same = LocalContextNormalization(1, 3, center=False, scale=False)
    close(y, called(same, x))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda cls: cls.__name__)
def test_a_map_counts_by_its_mean(layer):
    x, style = data(*SHAPE), data(6, 5, 2, 4, seed=1)
    layer = layer(kernel_size=3)
    layer.build([x.shape, style.shape])
    kernel = layer.filter_map.kernel
    kernel.assign(data(*kernel.shape, seed=2))
    close(called(layer, x, style), called(layer, x, style.mean((1, 2))))


def test_padded_steps_count_as_outside():
    layer = DynamicInstanceNormalization(3)
    layer.build([(6, 5, 8), (6, 4)])
    layer.filter_map.bias.assign(data(24, seed=3))
    x, style = data(6, 5, 8), data(6, 4)
    x[:, :2] = np.nan
    mask = np.broadcast_to(np.arange(5) >= 2, (6, 5))
    y = keras.ops.convert_to_numpy(layer(x, style, mask=mask))
    close(y[:, 2:], called(layer, x[:, 2:], style))


@pytest.mark.parametrize("groups", [1, 2])
def test_masked_channels_are_not_mixed_in(groups):
    layer = DynamicInstanceNormalization(groups=groups)
    filled(layer, data(1, 8 // groups, 8, seed=3))
    x, style = data(*SHAPE), data(6, 4)
    mask = np.random.default_rng(5).uniform(size=SHAPE) > 0.3
    held = np.where(mask, x, np.float32(100.0))
    y, same = (
        keras.ops.convert_to_numpy(layer(t, style, mask=mask))
        for t in (x, held)
    )
    close(same[mask], y[mask], entries=12)


def test_errors():
    for make in LAYERS:
        refuses(lambda make=make: make(kernel_size=0), "`kernel_size`")
        build = make(kernel_size=(3, 3, 3)).build
        refuses(lambda b=build: b([SHAPE, (6, 4)]), "`kernel_size`")
        build = make().build
        refuses(lambda b=build: b([SHAPE, (6, None)]), "`style`", "static")
    make = DynamicInstanceNormalization
    refuses(lambda: make(groups=0), "`groups`")
    refuses(lambda: make(hidden_units=0), "`hidden_units`")
    refuses(lambda: make(groups=3).build([SHAPE, (6, 4)]), "`groups`")
