"""Region normalization: which entries each region has, and what they give.

What every layer promises is tested in tests/contract.
"""

import keras
import numpy as np
import pytest

from contract.test_errors import refuses
from contract.tolerances import close
from keras_norm.layers import BatchNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import LearnableRegionNormalization
from keras_norm.layers import RegionNormalization

SHAPE = (6, 4, 3, 8)
PLAIN = {"center": False, "scale": False, "epsilon": 1e-5}


def data(*shape, seed=0, mean=0.5):
    values = np.random.default_rng(seed).normal(mean, 1.0, shape)
    return values.astype("float32")


def hole(*shape, seed=1):
    return np.random.default_rng(seed).uniform(size=shape) < 0.4


def called(layer, *inputs, **options):
    return keras.ops.convert_to_numpy(layer(*inputs, **options))


def with_weights(layer, seed=3):
    layer.build([SHAPE, SHAPE[:-1]])
    layer.gamma.assign(data(2, 8, seed=seed))
    layer.beta.assign(data(2, 8, seed=seed + 1))
    return layer, *layer.get_weights()


@pytest.mark.parametrize("area", ["batch", "instance"])
@pytest.mark.parametrize("masked_beta", [False, True])
def test_a_region_of_everything(area, masked_beta):
    layer = RegionNormalization(area, masked_beta)
    layer, gamma, beta = with_weights(layer)
    x = data(*SHAPE)
    kind = BatchNormalization if area == "batch" else InstanceNormalization
    normalized = called(kind(**PLAIN), x, training=True)
    for row, region in ((0, np.ones(SHAPE[:-1])), (1, np.zeros(SHAPE[:-1]))):
        # Of the empty region remains its beta.
        added = beta[row] if masked_beta else beta.sum(axis=0)
        y = called(layer, x, region)
        close(y, (1 + gamma[row]) * normalized + added)


def test_inside_and_outside_change_places():
    layer, gamma, beta = with_weights(RegionNormalization(masked_beta=True))
    other = RegionNormalization(masked_beta=True)
    other.build([SHAPE, SHAPE[:-1]])
    other.set_weights([gamma[::-1], beta[::-1]])
    x, region = data(*SHAPE), hole(*SHAPE[:-1])
    close(called(other, x, ~region), called(layer, x, region))


@pytest.mark.parametrize("area", ["batch", "instance"])
@pytest.mark.parametrize("far", [(1e4, 0.0), (-1e4, 1e4), (0.0, 1e6)])
def test_regions_far_apart(area, far):
    region = hole(6, 6, 6)
    x = data(6, 6, 6, 8, mean=0.0)
    x = (x + np.where(region, *far)[..., None]).astype("float32")
    layer = RegionNormalization(area)
    y = called(layer, x, region)
    axes = (0, 1, 2) if area == "batch" else (1, 2)
    expected = 0.0
    for m in (region[..., None], ~region[..., None]):
        m = m.astype("float64")
        size = m.sum(axes, keepdims=True)
        mean = (m * x).sum(axes, keepdims=True) / size
        variance = (m * (x - mean) ** 2).sum(axes, keepdims=True) / size
        share = size / np.ones_like(m).sum(axes, keepdims=True)
        expected += m * (x - mean) / np.sqrt(variance + 1e-5 / share)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_forms_of_a_region():
    x, region = data(*SHAPE), hole(6, 9, 5)
    layer = RegionNormalization()
    y = called(layer, x, region)
    rows, columns = np.arange(4) * 9 // 4, np.arange(3) * 5 // 3
    near = region[:, rows][:, :, columns]
    first = RegionNormalization(axis=1)
    for form in (region[..., None], 255 * region.astype("uint8"), near):
        close(called(layer, x, form), y)
    for form in (region, region[:, None]):
        y1 = called(first, np.moveaxis(x, -1, 1), form)
        close(np.moveaxis(y1, 1, -1), y)


def test_padded_steps_are_as_if_cut_out_of_both():
    layer = RegionNormalization()
    x, region = data(6, 5, 8), hole(6, 5)
    mask = np.broadcast_to(np.arange(5) >= 2, (6, 5))
    y = called(layer, x, region, mask=mask)
    close(y[:, 2:], called(layer, x[:, 2:], region[:, 2:]))


@pytest.mark.parametrize("area", ["batch", "instance"])
def test_a_learned_region_is_a_region(area):
    layer = LearnableRegionNormalization(0.5, 3, area)
    x = data(*SHAPE)
    layer.build(SHAPE)
    for network in (layer.gamma_map, layer.beta_map):
        network.kernel.assign(0.0 * network.kernel)
    features = np.stack([x.mean(-1), x.max(-1)], axis=-1)
    convolution = keras.layers.Conv2D(1, 3, padding="same", use_bias=False)
    convolution.build(features.shape)
    convolution.kernel.assign(layer.region_map.kernel)
    region = called(convolution, features) >= 0.0
    assert 0 < region.mean() < 1
    close(called(layer, x), called(RegionNormalization(area), x, region))


def test_errors():
    make = RegionNormalization
    refuses(lambda: make("layer"), "`area`", "batch")
    refuses(lambda: LearnableRegionNormalization(area="layer"), "`area`")
    for shape in ((6, 4), (6, 4, 3, 8), (6,)):
        refuses(lambda s=shape: make().build([SHAPE, s]), "`region`")
    make = LearnableRegionNormalization
    refuses(lambda: make(threshold=1.0), "`threshold`")
    refuses(lambda: make(threshold="0.5"), "`threshold`")
    refuses(lambda: make(kernel_size=0), "`kernel_size`")
    refuses(lambda: make(kernel_size=(3, 3, 3)).build(SHAPE), "`kernel_size`")
