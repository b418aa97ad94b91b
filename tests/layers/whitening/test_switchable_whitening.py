"""Switchable whitening: its parts alone, singular parts, states, errors."""

import numpy as np
import pytest

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GroupWhitening
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import IterativeNormalization
from keras_norm.layers import SwitchableWhitening
from oracles.whitening_areas import switchable_whitening as oracle

FIVE = ("batch_whitening", "instance_whitening", "batch", "instance", "layer")
SHAPE = (4, 6, 5, 8)


def data(shape=SHAPE, seed=0):
    """Channels that depend on each other, samples that differ."""
    rng = np.random.default_rng(seed)
    mix = np.eye(shape[-1]) + 0.1 * rng.normal(size=(shape[-1], shape[-1]))
    x = rng.normal(size=shape) + rng.normal(
        size=(shape[0], *[1] * (len(shape) - 1))
    )
    return (x @ mix).astype("float32")


def one_hot(name, **options):
    """A layer of all five that has learned to use one."""
    layer = SwitchableWhitening(FIVE, **options)
    layer.build(SHAPE)
    logits = np.where(np.array(FIVE) == name, 1e4, 0.0)
    layer.mean_weight.assign(logits)
    layer.covariance_weight.assign(logits)
    return layer


def same(layer, other, x):
    """Equal in training and, by the state of training, in inference."""
    other.build(x.shape)
    for training in (True, False):
        expected = inference(other, [x], training=training)
        close(inference(layer, [x], training=training), expected, x.size)
        layer(x, training=True)
        other(x, training=True)


def test_batch_whitening_alone_is_iterative_normalization():
    other = IterativeNormalization(4, running="covariance", momentum=0.5)
    layer = one_hot("batch_whitening", group_size=4, momentum=0.5)
    # Whose state has epsilon in it.
    layer.moving_covariance.assign(layer.moving_covariance * (1.0 - 1e-5))
    same(layer, other, data())


def test_instance_whitening_alone_whitens_the_channels_of_each_sample():
    other = GroupWhitening(groups=-1)
    same(one_hot("instance_whitening", group_size=8), other, data())


def test_batch_alone_is_batch_normalization():
    other = BatchNormalization(epsilon=1e-5, momentum=0.99)
    same(one_hot("batch", whitening="zca"), other, data())


def test_instance_alone_is_instance_normalization():
    same(one_hot("instance", whitening="zca"), InstanceNormalization(), data())


def test_layer_alone_is_layer_normalization_unbiased():
    x = data()
    y = inference(one_hot("layer", whitening="zca"), [x])
    flat = x.astype("float64").reshape(len(x), -1)
    deviation = np.sqrt(flat.var(1, ddof=1) + 1e-5)
    expected = (flat - flat.mean(1)[:, None]) / deviation[:, None]
    close(y, expected.reshape(x.shape), entries=x[0].size)


def test_groups_of_one_channel_are_batch_normalization():
    # Newton's steps are exact for one number.
    x = data()
    options = {"normalizers": ("batch_whitening",), "group_size": 1}
    other = BatchNormalization(epsilon=1e-5, momentum=0.99)
    layer = SwitchableWhitening(iterations=2, **options)
    layer.build(x.shape)
    same(layer, other, x)


def test_one_sample_is_its_own_batch():
    x = data()[:1]
    names = ("batch_whitening", "instance_whitening")
    y = [inference(one_hot(name), [x], training=True) for name in names]
    close(y[0], y[1], entries=x.size)


def test_state_starts_as_identity():
    layer = SwitchableWhitening(group_size=3)
    layer.build(SHAPE)
    assert [w.name for w in layer.weights] == [
        "gamma",
        "beta",
        "mean_weight",
        "covariance_weight",
        "moving_mean",
        "moving_covariance",
    ]
    eyes = np.broadcast_to(np.eye(3), (3, 3, 3))
    np.testing.assert_array_equal(layer.moving_covariance, eyes)
    layer(data(), training=True)
    # What fills up the last group stays.
    state = np.array(layer.get_weights()[-1])
    np.testing.assert_array_equal(state[2, 2], [0.0, 0.0, 1.0])


@pytest.mark.parametrize("whitening", ["iterative", "zca"])
def test_little_to_whiten(whitening):
    # Fewer places than channels; constant and equal channels; a constant
    # sample.
    x = data((4, 2, 2, 8))
    x[..., 1] = 2.0
    x[..., 3] = x[..., 2]
    x[3] = 1.0
    options = {
        "normalizers": FIVE,
        "whitening": whitening,
        "epsilon": 1e-3,
    }
    layer = SwitchableWhitening(**options)
    layer.build(x.shape)
    upstream = np.random.default_rng(1).normal(size=x.shape)
    found = gradients(layer, [x], upstream)
    assert np.all(np.isfinite(found.inputs[0]))
    for gradient in found.weights.values():
        assert np.all(np.isfinite(gradient))
    expected, _ = oracle([x], options, {}, {}, True)
    np.testing.assert_allclose(found.outputs, expected, atol=1e-3)


def test_constant_input_is_beta():
    x = np.full(SHAPE, 7.3, "float32")
    layer = SwitchableWhitening(FIVE, beta_initializer="ones")
    layer.build(SHAPE)
    y = inference(layer, [x], training=True)
    np.testing.assert_array_equal(y, np.ones(SHAPE, "float32"))


@pytest.mark.parametrize("name", ["instance_whitening", "instance"])
def test_vectors_have_no_instances(name):
    layer = SwitchableWhitening((name, "layer"))
    with pytest.raises(ValueError, match=f"{name}.*Received.*input_shape"):
        layer.build((None, 8))


def test_vectors():
    x = data((12, 8))
    options = {"normalizers": ("batch_whitening", "layer"), "group_size": 3}
    layer = SwitchableWhitening(**options)
    layer.build(x.shape)
    for training in (True, False):
        expected, _ = oracle([x], options, {}, {}, training)
        y = inference(layer, [x], training=training)
        close(y, expected, entries=x.size)


def test_half_precision():
    x = data()
    layer = SwitchableWhitening(group_size=4, dtype="mixed_float16")
    y = layer(x.astype("float16") * 1e4, training=True)
    assert "float16" in str(y.dtype)
    expected, _ = oracle([x], {"group_size": 4}, {}, {}, True)
    y = np.array(y.detach() if hasattr(y, "detach") else y, "float32")
    np.testing.assert_allclose(y, expected, atol=2e-2)
