"""Batch-channel normalization is two layers, one after the other."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchChannelNormalization
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GroupNormalization

SHAPE = (6, 4, 3, 8)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, SHAPE).astype("float32")


def built(**options):
    layer = BatchChannelNormalization(**options)
    layer.build(SHAPE)
    scramble(layer)
    return layer


@pytest.mark.parametrize("groups", [4, -1])
def test_group_after_batch(groups):
    layer = built(groups=groups, channel_affine="channel")
    first = BatchNormalization(momentum=0.9, epsilon=1e-5)
    second = GroupNormalization(groups=groups, epsilon=1e-5)
    for twin, names in ((first, ("",)), (second, ("group_",))):
        twin.build(SHAPE)
        for name in ("gamma", "beta"):
            value = numpy(getattr(layer, names[0] + name))
            getattr(twin, name).assign(value)
    for name in ("moving_mean", "moving_variance"):
        getattr(first, name).assign(numpy(getattr(layer, name)))
    x = data()
    for training in (True, False):
        y = numpy(layer(x, training=training))
        z = second(first(x, training=training))
        close(y, numpy(z), entries=x.size)
    close(numpy(layer.moving_mean), numpy(first.moving_mean), entries=x.size)


def test_one_affine_for_each_group():
    grouped = built(groups=4)
    assert grouped.group_gamma.shape == (4,)
    layer = built(groups=4, channel_affine="channel")
    for a, b in zip(layer.weights, grouped.weights, strict=True):
        value = numpy(b)
        value = np.repeat(value, 2) if value.shape == (4,) else value
        a.assign(value)
    x = data()
    np.testing.assert_allclose(
        numpy(layer(x)), numpy(grouped(x)), rtol=0, atol=1e-6
    )


def test_estimates():
    x, upstream = data(), data(1)
    # All of it is the batch's: the same forward as without.
    layers = [
        built(groups=4, momentum=0.0, estimate=flag) for flag in (True, False)
    ]
    ours, plain = (gradients(layer, [x], upstream) for layer in layers)
    close(ours.outputs, plain.outputs, entries=x.size)
    # Constants to the gradient: the backward pass is another.
    assert np.max(np.abs(ours.inputs[0] - plain.inputs[0])) > 1e-2
    # What training and inference by the same state compute is the same.
    layer = built(groups=4, estimate=True)
    trained = numpy(layer(x, training=True))
    close(numpy(layer(x)), trained, entries=x.size)


def test_groups_of_one_feature_are_beta():
    layer = BatchChannelNormalization(groups=8)
    layer.build((6, 8))
    scramble(layer)
    x = data()[:, 0, 0]
    y = numpy(layer(x, training=True))
    np.testing.assert_array_equal(y, np.tile(numpy(layer.group_beta), (6, 1)))


def test_without_gamma_and_beta():
    layer = BatchChannelNormalization(groups=4, center=False, scale=False)
    layer.build(SHAPE)
    assert not layer.trainable_weights
    y = numpy(layer(data(), training=True)).reshape(6, -1, 4, 2)
    np.testing.assert_allclose(y.mean((1, 3)), 0.0, atol=1e-5)


def test_frozen_are_gamma_and_beta_of_both_parts():
    layer = BatchChannelNormalization(groups=4)
    layer.build(SHAPE)
    assert len(layer.trainable_weights) == 4
    layer.freeze_affine = True
    assert not layer.trainable_weights


def test_errors():
    with pytest.raises(ValueError, match="`channel_affine` must be one of"):
        BatchChannelNormalization(channel_affine="all")
    with pytest.raises(ValueError, match="`groups` must divide"):
        BatchChannelNormalization(groups=3).build(SHAPE)
    with pytest.raises(ValueError, match="positive integer"):
        BatchChannelNormalization(groups=0)
