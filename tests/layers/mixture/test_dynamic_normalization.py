"""Dynamic normalization: gates of known methods, the gradient of a gate."""

import numpy as np
import pytest

from contract.method import SHAPES
from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import BatchGroupNormalization
from keras_norm.layers import BatchNormalization
from keras_norm.layers import DynamicNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceNormalization

X = np.random.default_rng(0).normal(0.5, 1.0, SHAPES[4]).astype("float32")
UPSTREAM = np.random.default_rng(1).normal(size=SHAPES[4])


def group(groups):
    return lambda: GroupNormalization(groups=groups, epsilon=1e-5)


def batch():
    return BatchNormalization(epsilon=1e-5, momentum=0.9)


# Weights of the gates of 8 = 2 * 2 * 2 channels and of the samples.
KNOWN = {
    "instance": ([-1.0, -1.0, -1.0], -1.0, InstanceNormalization),
    "layer": ([1.0, 1.0, 1.0], -1.0, group(1)),
    "two groups": ([-0.1, 2.0, 0.1], -1.0, group(2)),
    "four groups": ([-0.1, 0.0, 0.1], -1.0, group(4)),
    "batch": ([-1.0, -1.0, -1.0], 1.0, batch),
}


def built(channel_gates, batch_gate, shape=SHAPES[4], **options):
    layer = DynamicNormalization("instance", **options)
    layer.build(shape)
    layer.channel_gates.assign(channel_gates)
    layer.batch_gate.assign(batch_gate)
    return layer


@pytest.mark.parametrize("name", KNOWN)
def test_gates_of_known_methods(name):
    *gates, other = KNOWN[name]
    # Channels far from each other are as exact as near ones.
    x = X + np.float32(1e4) * (np.arange(8) // 2).astype("float32")
    layer, other = built(*gates), other()
    other.build(x.shape)
    found = gradients(layer, [x], UPSTREAM)
    wanted = gradients(other, [x], UPSTREAM)
    close(found.outputs, wanted.outputs, x.size)
    scale = np.max(np.abs(wanted.inputs[0]))
    close(found.inputs[0], wanted.inputs[0], x.size, scale=scale)
    state = layer.moving_mean, layer.moving_variance
    twin = batch()
    twin(x, training=True)
    for a, b in zip(state, twin.non_trainable_weights, strict=True):
        close(numpy(a), numpy(b), x.size)
    close(inference(layer, [X]), inference(other, [X]), X.size)


def test_samples_and_groups_of_channels():
    layer = built([-1.0, 1.0, 1.0], 1.0)
    other = BatchGroupNormalization(groups=2, epsilon=1e-5)
    expected = numpy(other(X, training=True))
    close(numpy(layer(X, training=True)), expected, X.size)


def test_other_gates_take_channels_at_a_distance():
    layer = built([1.0, -1.0, -1.0], -1.0)
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7])
    expected = numpy(group(4)()(X[..., order]))
    close(numpy(layer(X)), expected[..., np.argsort(order)], X.size)


def test_factors_of_other_numbers_of_channels():
    x = np.concatenate([X, X[..., :4] * 2.0], axis=-1)
    layer = built([-1.0, 1.0, 1.0], -1.0, x.shape)
    close(numpy(layer(x)), numpy(group(2)()(x)), x.size)
    for channels, gates in ((1, 1), (7, 1), (30, 3), (32, 5)):
        layer = DynamicNormalization()
        layer.build((None, None, channels))
        assert layer.channel_gates.shape == (gates,)


def formula(gates, mask=None):
    """y for gates from 0 to 1, of the moments about zero; in float64."""
    x = X.astype("float64")
    count = np.ones((6, 1, 1, 1)) if mask is None else np.sum(mask, (1, 2))
    count = np.reshape(count, (-1, 1))
    entries = 1.0 if mask is None else mask
    each = x.shape[1] * x.shape[2] if mask is None else count
    averaged = []
    for t in (x, x**2):
        t = np.sum(entries * t, (1, 2)) / each
        of_all = np.sum(count * t, 0, keepdims=True) / np.sum(count)
        t = (1 - gates[3]) * t + gates[3] * of_all
        t = t.reshape(-1, 2, 2, 2)
        for i in range(3):
            of_all = t.mean(i + 1, keepdims=True)
            t = (1 - gates[i]) * t + gates[i] * of_all
        averaged.append(t.reshape(-1, 1, 1, 8))
    mean, square = averaged
    return (x - mean) / np.sqrt(square - mean**2 + 1e-5)


def slopes(gates):
    """Derivatives of sum(y * UPSTREAM) by the gates."""
    step = 1e-5 * np.eye(4)
    ends = [[formula(gates + s), formula(gates - s)] for s in step]
    return np.array([np.sum((a - b) * UPSTREAM) / 2e-5 for a, b in ends])


def check(layer, y, gradient):
    found = gradients(layer, [X], UPSTREAM)
    close(found.outputs, y, X.size)
    of_gates = [*found.weights["channel_gates"], found.weights["batch_gate"]]
    # A sum of terms of both signs.
    scale = np.sqrt(X.size) * np.max(np.abs(gradient))
    close(of_gates, gradient, X.size, scale=scale)


@pytest.mark.parametrize("gates", [KNOWN["two groups"][:2], ([0.3] * 3, 0.2)])
def test_the_gradient_passes_straight_through(gates):
    """That of averages by gates between, at the value of the gate."""
    values = (np.array([*gates[0], gates[1]]) > 0).astype("float64")
    check(built(*gates), formula(values), slopes(values))


def test_gates_between():
    logits = np.array([0.4, -0.3, 0.1, 0.2])
    values = 1.0 / (1.0 + np.exp(-logits))
    layer = built(logits[:3], logits[3], hard=False)
    wanted = slopes(values) * values * (1.0 - values)
    check(layer, formula(values), wanted)
    mask = np.random.default_rng(3).uniform(size=(6, 4, 3, 1)) > 0.4
    y = inference(layer, [X], training=True, mask=mask)
    seen = np.broadcast_to(mask, X.shape)
    close(y[seen], formula(values, mask)[seen], X.size)


def test_masks_that_differ_between_channels():
    # Groups of channels count their entries.
    mask = np.random.default_rng(3).uniform(size=X.shape) > 0.4
    layer, other = built(*KNOWN["two groups"][:2]), group(2)()
    expected = numpy(other(X, mask=mask))
    close(numpy(layer(X, mask=mask))[mask], expected[mask], X.size)


def test_random_gates_and_errors():
    found = []
    for seed in (1, 1, 2):
        layer = DynamicNormalization(seed=seed)
        layer.build((None, 5, 64))
        found.append(numpy(layer.channel_gates))
        assert 0 < np.max(np.abs(found[-1])) < 0.1
    np.testing.assert_array_equal(found[0], found[1])
    assert np.any(found[0] != found[2])
    with pytest.raises(ValueError, match="`initial` must be one of"):
        DynamicNormalization("group")
    with pytest.raises(ValueError, match="must have positions"):
        DynamicNormalization().build((6, 8))
