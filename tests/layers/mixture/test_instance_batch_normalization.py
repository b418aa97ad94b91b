"""IBN-a and IBN-b against the layers they are made of."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import InstanceBatchNormalization
from keras_norm.layers import InstanceNormalization

SHAPE = (6, 4, 3, 8)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, SHAPE).astype("float32")


@pytest.mark.parametrize("ratio", [0, 0.3, 0.99, 1])
def test_parts_are_layers(ratio):
    layer = InstanceBatchNormalization(ratio)
    layer.build(SHAPE)
    scramble(layer)
    split = int(8 * ratio)
    x, upstream = data(), data(1)
    # Two layers beside each other, each on its channels.
    weights = layer.get_weights()
    ours = gradients(layer, [x], upstream)
    inferred = numpy(layer(x))
    for part in (slice(split), slice(split, None)):
        if not x[..., part].size:
            continue
        first = part.start is None
        twin = InstanceNormalization() if first else BatchNormalization(-1, 0.9)
        twin.epsilon = 1e-5
        twin.build(x[..., part].shape)
        twin.set_weights(
            [w[part] for w in weights[:2]] + weights[2:][: 2 * (not first)]
        )
        theirs = gradients(twin, [x[..., part]], upstream[..., part])
        close(ours.outputs[..., part], theirs.outputs, x.size)
        close(ours.inputs[0][..., part], theirs.inputs[0], x.size)
        close(inferred[..., part], numpy(twin(x[..., part])), x.size)
    names = [v.name for v in layer.non_trainable_weights]
    assert names == ["moving_mean", "moving_variance"] * (split < 8)


def test_the_sum_of_two_inputs():
    layer, twin = (
        InstanceBatchNormalization(variant="b"),
        InstanceNormalization(),
    )
    x, shortcut, upstream = data(), data(1), data(2)
    expected = gradients(twin, [x + shortcut], upstream)
    for given in ([x, shortcut], [[x, shortcut]]):
        found = gradients(layer, given, upstream)
        close(found.outputs, expected.outputs, x.size)
        flat = found.inputs if len(given) == 2 else found.inputs[0]
        for gradient in flat:
            close(gradient, expected.inputs[0], x.size)
    close(numpy(layer(x + shortcut)), expected.outputs, x.size)
    assert not layer.non_trainable_weights


def test_a_residual_block_is_saved(tmp_path):
    x = keras.Input(SHAPE[1:])
    y = InstanceBatchNormalization(ratio=0.5)(x)
    y = InstanceBatchNormalization(variant="b")(y, shortcut=x)
    model = keras.Model(x, y)
    model(data(), training=True)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    close(numpy(copy(data(1))), numpy(model(data(1))))


def test_errors():
    for ratio in (-0.1, 1.5, "half", None, True):
        with pytest.raises(ValueError, match="`ratio` is the share"):
            InstanceBatchNormalization(ratio)
    with pytest.raises(ValueError, match="`variant` must be one of"):
        InstanceBatchNormalization(variant="c")
    with pytest.raises(ValueError, match="must have positions"):
        InstanceBatchNormalization().build((6, 8))
    with pytest.raises(ValueError, match="variant='b' only"):
        InstanceBatchNormalization()(data(), data())
    with pytest.raises(ValueError, match="must have the shape"):
        InstanceBatchNormalization(variant="b")(data(), data()[..., :5])
    InstanceBatchNormalization(0.0).build((6, 8))
