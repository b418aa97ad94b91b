"""Switchable batch normalization: one table, a row for each width."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import SwitchableBatchNormalization

WIDTHS = (4, 8)


def data(width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, (6, 3, width)).astype("float32")


@pytest.mark.parametrize("shared", [False, True])
def test_each_width_is_a_batch_normalization(shared):
    layer = SwitchableBatchNormalization(WIDTHS, shared_affine=shared)
    layer.build((None, 3, 4))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    for row, width in enumerate(WIDTHS):
        part = slice(width) if shared else (row, slice(width))
        twin = BatchNormalization(momentum=0.9, epsilon=1e-5)
        twin.build((None, 3, width))
        twin.gamma.assign(numpy(layer.gamma)[part])
        twin.beta.assign(numpy(layer.beta)[part])
        x, upstream = data(width), data(width, 1)
        before = layer.get_weights()
        # Compiled anew for each width.
        ours, theirs = (
            gradients(t, [x], upstream, jit=t is layer) for t in (layer, twin)
        )
        close(ours.outputs, theirs.outputs, entries=x.size)
        close(ours.inputs[0], theirs.inputs[0], entries=x.size)
        for name in ("gamma", "beta"):
            found = ours.weights[name]
            close(found[part], theirs.weights[name], entries=x.size)
            rest = np.array(found)
            rest[part] = 0.0
            assert not np.any(rest)
        # Other rows, and what lies beyond the width, are bit for bit as before.
        for name, old in zip(
            ("moving_mean", "moving_variance"), before[-2:], strict=True
        ):
            moved = np.array(getattr(layer, name))
            close(moved[row, :width], numpy(getattr(twin, name)), x.size)
            moved[row, :width] = old[row, :width]
            np.testing.assert_array_equal(moved, old)
        close(numpy(layer(x)), numpy(twin(x)), entries=x.size)


def test_slimmable_network_of_two_models():
    # Both widths of one set of layers, in models of their own.
    layer = SwitchableBatchNormalization(WIDTHS)
    models = []
    for width in WIDTHS:
        x = keras.Input((3, 8))
        models.append(keras.Model(x, layer(x[..., :width])))
    x = data(8)
    state = [numpy(layer.moving_mean)]
    for model in models:
        model(x, training=True)
        state.append(numpy(layer.moving_mean))
    assert np.any(state[1][0] != state[0][0])
    np.testing.assert_array_equal(state[1][1], state[0][1])
    np.testing.assert_array_equal(state[2][0], state[1][0])
    assert np.any(state[2][1] != state[1][1])
    # The narrow network sees the first channels.
    close(state[2][0, :4], state[2][1, :4])


def test_a_width_that_it_has_not():
    layer = SwitchableBatchNormalization(WIDTHS)
    with pytest.raises(ValueError, match=r"`widths`. Received: .*channels=6"):
        layer.build((None, 3, 6))
    layer.build((None, 3, 4))
    with pytest.raises(ValueError, match=r"`widths`. Received: .*channels=6"):
        layer(data(6))


def test_unbiased_moving_variance():
    layer = SwitchableBatchNormalization(
        (4,), momentum=0.0, unbiased_moving_variance=True
    )
    x = data(4)
    layer(x, training=True)
    variance = np.var(x.astype("float64"), axis=(0, 1), ddof=1)
    close(numpy(layer.moving_variance)[0], variance, entries=x.size)
