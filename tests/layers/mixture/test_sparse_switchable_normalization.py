"""Sparse switchable normalization: its ends, its choices, ties."""

import numpy as np
import pytest

from contract.method import SHAPES
from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import SparseSwitchableNormalization
from keras_norm.layers import SwitchableNormalization
from keras_norm.ops import sparsestmax

X = np.random.default_rng(0).normal(0.5, 1.0, SHAPES[4]).astype("float32")
UPSTREAM = np.random.default_rng(1).normal(size=SHAPES[4])
NAMES = ("instance", "layer", "batch")
ALONE = {
    "instance": InstanceNormalization,
    "layer": lambda: GroupNormalization(groups=1, epsilon=1e-5),
    "batch": lambda: BatchNormalization(epsilon=1e-5),
}


def built(logits, radius, **options):
    layer = SparseSwitchableNormalization(**options)
    layer.build(SHAPES[4])
    layer.mean_weight.assign(logits)
    layer.variance_weight.assign(logits)
    layer.radius.assign(radius)
    return layer


def chosen(layer):
    return [numpy(layer.mean_chosen), numpy(layer.variance_chosen)]


def test_radius_zero_is_the_mixture_by_sparsemax():
    logits = np.array([0.4, 0.1, 0.2], "float32")
    layer = built(logits, 0.0)
    # The softmax of their logarithms are the shares.
    twin = SwitchableNormalization()
    twin.build(SHAPES[4])
    shares = np.log(numpy(sparsestmax(logits)))
    twin.mean_weight.assign(shares)
    twin.variance_weight.assign(shares)
    expected = numpy(twin(X, training=True))
    close(numpy(layer(X, training=True)), expected, X.size)
    np.testing.assert_array_equal(chosen(layer), 0)


@pytest.mark.parametrize("name", ALONE)
def test_a_large_radius_chooses_one(name):
    logits = np.where(np.array(NAMES) == name, 0.3, 0.2)
    layer = built(logits, 0.8165, unbiased=False)
    other = ALONE[name]()
    found = gradients(layer, [X], UPSTREAM)
    wanted = gradients(other, [X], UPSTREAM)
    close(found.outputs, wanted.outputs, X.size)
    close(found.inputs[0], wanted.inputs[0], X.size)
    one = (np.array(NAMES) == name).astype("float32")
    np.testing.assert_array_equal(chosen(layer), [one, one])


def test_a_choice_stays_and_has_no_gradient():
    layer = built([0.0, 0.1, 0.2], 1.0)
    # Inference uses it without keeping it, so does a frozen layer.
    before = numpy(layer(X))
    layer.trainable = False
    layer(X, training=True)
    layer.trainable = True
    layer(X, training=True, mask=np.zeros(6, "bool"))
    np.testing.assert_array_equal(chosen(layer), 0)
    layer(X, training=True)
    layer.moving_mean.assign(np.zeros(8))
    layer.moving_variance.assign(np.ones(8))
    layer.mean_weight.assign([9.0, 0.0, 0.0])
    layer.radius.assign(0.0)
    np.testing.assert_array_equal(numpy(layer(X)), before)
    found = gradients(layer, [X], UPSTREAM)
    assert not np.any(found.weights["mean_weight"])
    assert not np.any(found.weights["variance_weight"])
    assert np.all(np.any(chosen(layer), axis=-1))


def test_means_and_variances_choose_on_their_own():
    layer = built([0.0, 0.1, 0.2], 0.9)
    layer.mean_weight.assign(np.zeros(3))
    found = gradients(layer, [X], UPSTREAM)
    np.testing.assert_array_equal(chosen(layer), [[0, 0, 0], [0, 0, 1]])
    assert np.any(found.weights["mean_weight"])
    assert not np.any(found.weights["variance_weight"])


def test_equal_weights_at_any_radius():
    # As every layer begins.
    expected = numpy(built(np.ones(3), 0.0)(X, training=True))
    layer = built(np.ones(3), 1.0)
    found = gradients(layer, [X], UPSTREAM)
    np.testing.assert_array_equal(found.outputs, expected)
    assert all(np.all(np.isfinite(g)) for g in found.weights.values())
