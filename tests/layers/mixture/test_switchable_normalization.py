"""Switchable normalization: one of its normalizers alone, errors."""

import numpy as np
import pytest

from contract.method import SHAPES
from contract.method import numpy
from contract.tolerances import close
from gradients import inference
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import SwitchableNormalization

X = np.random.default_rng(0).normal(0.5, 1.0, SHAPES[4]).astype("float32")
ALONE = {
    "instance": InstanceNormalization,
    "layer": lambda: GroupNormalization(groups=1, epsilon=1e-5),
    "batch": lambda: BatchNormalization(epsilon=1e-5, momentum=0.9),
}


def one_hot(name, layer, shape=SHAPES[4]):
    """A layer that has learned to use one."""
    layer.build(shape)
    logits = np.where(np.array(layer.mixed) == name, 1e4, 0.0)
    layer.mean_weight.assign(logits)
    layer.variance_weight.assign(logits)
    return layer


def same(layer, other, x):
    """Equal in training and, by the state of training, in inference."""
    other.build(x.shape)
    for _ in range(2):
        for training in (True, False):
            expected = inference(other, [x], training)
            close(inference(layer, [x], training), expected, x.size)
        layer(x, training=True)
        other(x, training=True)


@pytest.mark.parametrize("name", ALONE)
def test_one_of_them_alone(name):
    layer = one_hot(name, SwitchableNormalization(unbiased=False))
    same(layer, ALONE[name](), X)
    # As if there was no other to choose.
    layer = SwitchableNormalization((name,), unbiased=False)
    layer.build(X.shape)
    expected = numpy(ALONE[name]()(X, training=True))
    close(numpy(layer(X, training=True)), expected, X.size)


def test_features_have_layer_and_batch():
    x = X[:, 0, 0]
    layer = SwitchableNormalization(unbiased=False)
    same(one_hot("layer", layer, x.shape), ALONE["layer"](), x)
    assert layer.mixed == ("layer", "batch")


def test_the_batch_of_one_sample_is_the_instance():
    found = []
    for name in ("instance", "batch"):
        layer = one_hot(name, SwitchableNormalization(unbiased=False))
        found.append(numpy(layer(X[:1], training=True)))
    close(*found, entries=X[:1].size)


def test_errors():
    for normalizers in ((), ("batch", "batch"), ("group",)):
        with pytest.raises(ValueError, match="`normalizers` must be distinct"):
            SwitchableNormalization(normalizers)
    with pytest.raises(ValueError, match="must have positions"):
        SwitchableNormalization(("instance",)).build((6, 8))
