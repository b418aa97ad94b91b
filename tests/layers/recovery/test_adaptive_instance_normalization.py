"""Adaptive instance normalization: what the style gives."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from keras_norm.layers import AdaptiveInstanceNormalization
from keras_norm.layers import InstanceNormalization

SHAPE = (6, 4, 3, 8)


def data(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(1, 2, shape).astype("float32")


@pytest.mark.parametrize("unbiased", [False, True])
def test_own_style_changes_nothing(unbiased):
    x = data()
    layer = AdaptiveInstanceNormalization(unbiased=unbiased)
    close(numpy(layer(x, x)), x)


def test_result_has_the_moments_of_a_style_of_another_size():
    x, style = data(), data((6, 2, 7, 8), 1)
    y = numpy(AdaptiveInstanceNormalization(epsilon=0.0)(x, style))
    for moment in (np.mean, np.std):
        expected = moment(style.astype("float64"), axis=(1, 2))
        close(moment(y, axis=(1, 2)), expected, entries=14)
    # Of the content only its directions are left.
    close(numpy(AdaptiveInstanceNormalization()(3 * x - 5, style)), y, x.size)


@pytest.mark.parametrize("unbiased", [False, True])
def test_mask_of_the_style(unbiased):
    x, style = data(), data((6, 5, 3, 8), 1)
    seen = np.arange(5) < 3
    mask = np.broadcast_to(seen, (6, 5))
    held = np.where(seen[:, None, None], style, np.float32(np.nan))
    layer = AdaptiveInstanceNormalization(unbiased=unbiased)
    y = numpy(layer([x, held], mask=[None, mask]))
    close(y, numpy(layer([x, style[:, :3]])), entries=style.size)
    # Both masks at once.
    own = np.arange(6) != 2
    both = numpy(layer([x, held], mask=[own, mask]))
    close(both[own], y[own])


def test_padding_is_not_blended_in():
    x, style = data((6, 5, 8)), data((6, 4, 8), 1)
    x[:, 3:] = np.nan
    mask = np.broadcast_to(np.arange(5) < 3, (6, 5))
    y = numpy(AdaptiveInstanceNormalization(alpha=0.5)(x, style, mask=mask))
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("listed", [True, False])
def test_masks_of_a_model_reach_content_and_style(listed):
    x, style = data((6, 5, 8)), data((6, 4, 8), 1)
    x[:, 3:], style[:, 2:] = 0.0, 0.0
    inputs = [keras.Input(a.shape[1:]) for a in (x, style)]
    masked = [keras.layers.Masking()(t) for t in inputs]
    layer = AdaptiveInstanceNormalization()
    y = layer(masked) if listed else layer(masked[0], style=masked[1])
    model = keras.Model(inputs, y)
    expected = numpy(layer(x[:, :3], style[:, :2]))
    close(numpy(model([x, style]))[:, :3], expected, entries=x.size)


def test_generated_in_one_or_two_parts():
    x, both = data(), data((6, 16), 1)
    layer = AdaptiveInstanceNormalization("generated")
    expected = numpy(layer(x, both[:, :8], both[:, 8:]))
    close(numpy(layer([x, both[:, :8], both[:, 8:]])), expected)
    close(numpy(AdaptiveInstanceNormalization("generated")(x, both)), expected)


def test_dense_style_of_zeros_is_instance_normalization():
    x = data()
    layer = AdaptiveInstanceNormalization("dense")
    y = numpy(layer(x, np.zeros((6, 5), "float32")))
    close(y, numpy(InstanceNormalization()(x)))


def test_alpha_must_be_a_number():
    with pytest.raises(ValueError, match="`alpha`.*Received"):
        AdaptiveInstanceNormalization(alpha=None)


@pytest.mark.parametrize(
    "variant, shapes",
    [
        ("style", [(6, 8, 4)]),
        ("style", [(8,)]),
        ("style", [(6, 8), (6, 8)]),
        ("generated", [(6, 8)]),
        ("generated", [(6, 8), (6, 7)]),
        ("generated", [(6, 1, 1, 8), (6, 1, 1, 8)]),
        ("dense", [(6, 4, 3)]),
        ("dense", [(6, None)]),
    ],
)
def test_second_inputs_of_other_shapes(variant, shapes):
    layer = AdaptiveInstanceNormalization(variant)
    with pytest.raises(ValueError, match="(must|takes) .*Received"):
        layer.build([SHAPE, *shapes])
