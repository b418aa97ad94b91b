"""Spatially adaptive normalization: what is left without a map, of which map.

What every layer promises is tested in tests/contract.
"""

import keras
import numpy as np
import pytest

from contract.test_errors import refuses
from contract.tolerances import close
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import LayerNormalization
from keras_norm.layers import SpatiallyAdaptiveNormalization

SHAPE = (6, 4, 3, 8)
PLAIN = {"center": False, "scale": False, "epsilon": 1e-5}


def data(*shape, seed=0):
    values = np.random.default_rng(seed).normal(0.5, 1.0, shape)
    return values.astype("float32")


def called(layer, *inputs, **options):
    return keras.ops.convert_to_numpy(layer(*inputs, **options))


@pytest.mark.parametrize(
    "area, same",
    [
        ("batch", BatchNormalization(momentum=0.9, **PLAIN)),
        ("instance", InstanceNormalization(**PLAIN)),
        ("layer", LayerNormalization(axis=(1, 2, 3), **PLAIN)),
        ("group", GroupNormalization(2, **PLAIN)),
    ],
    ids=str,
)
def test_without_a_map_it_is_the_area_s_normalization(area, same):
    layer = SpatiallyAdaptiveNormalization(area, groups=2, hidden_filters=4)
    x, m = data(*SHAPE), data(6, 7, 7, 3)
    layer.build([x.shape, m.shape])
    for network in (layer.gamma_map, layer.beta_map):
        network.kernel.assign(0.0 * network.kernel)
    for training in (True, False):
        y = called(layer, x, m, training=training)
        close(y, called(same, x, training=training))


def test_a_constant_map_is_a_condition_of_the_sample():
    layer = SpatiallyAdaptiveNormalization(
        "instance", hidden_filters=4, kernel_size=1
    )
    x, c = data(*SHAPE), data(6, 1, 1, 3)
    y = called(layer, x, np.tile(c, (1, 2, 5, 1)))
    hidden = np.maximum(c @ numpy(layer.hidden.kernel)[0, 0], 0.0)
    gamma, beta = (
        hidden @ numpy(network.kernel)[0, 0]
        for network in (layer.gamma_map, layer.beta_map)
    )
    normalized = called(InstanceNormalization(), x)
    close(y, (1 + gamma) * normalized + beta)


def numpy(variable):
    return keras.ops.convert_to_numpy(variable)


def test_padded_steps_are_as_if_cut_out_of_both():
    # Of one entry, so that convolutions do not reach what is cut.
    layer = SpatiallyAdaptiveNormalization(hidden_filters=4, kernel_size=1)
    x, m = data(6, 5, 8), data(6, 5, 3, seed=1)
    mask = np.broadcast_to(np.arange(5) >= 2, (6, 5))
    y = called(layer, x, m, training=True, mask=mask)
    left = called(layer, x[:, 2:], m[:, 2:], training=True)
    close(y[:, 2:], left)


def test_integer_maps_and_maps_of_the_same_size():
    layer = SpatiallyAdaptiveNormalization(hidden_filters=4)
    x = data(*SHAPE)
    labels = np.random.default_rng(0).integers(0, 3, SHAPE[:-1])
    onehot = np.eye(3, dtype="int32")[labels]
    y = called(layer, x, onehot)
    close(y, called(layer, x, onehot.astype("float32")))


def test_errors():
    make = SpatiallyAdaptiveNormalization
    refuses(lambda: make(area="bach"), "`area`", "'batch'")
    refuses(lambda: make(interpolation="cubic"), "`interpolation`")
    refuses(lambda: make(hidden_filters=0), "`hidden_filters`")
    refuses(lambda: make(kernel_size=0), "`kernel_size`")
    build = make(hidden_filters=4).build
    refuses(lambda: build([SHAPE, (6, 7, 3)]), "`condition`", "rank")
    refuses(lambda: build([SHAPE, (6, 7, 7, None)]), "`condition`", "static")
    build = make(kernel_size=(3, 3, 3)).build
    refuses(lambda: build([SHAPE, (6, 7, 7, 3)]), "`kernel_size`")
    refuses(lambda: make("group", groups=3).build([SHAPE] * 2), "`groups`")
