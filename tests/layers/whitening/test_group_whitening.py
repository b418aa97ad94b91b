"""Group whitening: identities, and samples that have little to whiten."""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import GroupNormalization
from keras_norm.layers import GroupWhitening
from oracles.whitening_areas import group_whitening as oracle

SHAPE = (3, 6, 5, 8)


def data(shape=SHAPE, seed=0):
    """Channels that depend on each other."""
    rng = np.random.default_rng(seed)
    mix = np.eye(shape[-1]) + 0.1 * rng.normal(size=(shape[-1], shape[-1]))
    return (rng.normal(size=shape) @ mix).astype("float32")


def run(x, **options):
    layer = GroupWhitening(**options)
    layer.build(x.shape)
    return inference(layer, [x])


def covariance(y, groups):
    """Of the groups, for each sample: (N, groups, groups)."""
    y = np.moveaxis(y, -1, 1).reshape(len(y), groups, -1).astype("float64")
    y = y - y.mean(-1, keepdims=True)
    return y @ np.swapaxes(y, 1, 2) / y.shape[-1]


@pytest.mark.parametrize("whitening", ["iterative", "zca", "cholesky"])
def test_one_group_is_layer_normalization(whitening):
    x = data()
    layer = GroupNormalization(1, epsilon=1e-5)
    layer.build(x.shape)
    y = run(x, groups=1, whitening=whitening)
    close(y, inference(layer, [x]), entries=x[0].size)


@pytest.mark.parametrize("groups", [2, 4, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"whitening": "zca"},
        {"whitening": "cholesky"},
        {"whitening": "iterative", "iterations": 20},
    ],
    ids=lambda o: o["whitening"],
)
def test_groups_of_every_sample_are_white(groups, options):
    y = run(data(), groups=groups, epsilon=1e-6, **options)
    white = np.broadcast_to(np.eye(groups), (3, groups, groups))
    np.testing.assert_allclose(covariance(y, groups), white, atol=2e-4)


def test_few_steps_approach_the_root():
    x = data()
    root = run(x, groups=4, whitening="zca")
    errors = [
        np.max(np.abs(run(x, groups=4, iterations=i) - root))
        for i in (1, 5, 20)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


@pytest.mark.parametrize("groups", [8, 32, -1])
def test_no_more_groups_than_channels(groups):
    x = data()
    layer = GroupWhitening(groups)
    layer.build(x.shape)
    np.testing.assert_array_equal(inference(layer, [x]), run(x, groups=8))
    assert layer.get_config()["groups"] == groups


@pytest.mark.parametrize("groups", [3, 5])
def test_groups_divide_the_channels(groups):
    with pytest.raises(ValueError, match="Received.*channels=8. Use (2|4) or"):
        GroupWhitening(groups).build(SHAPE)


@pytest.mark.parametrize("groups", [0, -2, 2.0, "2", None, True])
def test_groups_are_a_positive_integer(groups):
    with pytest.raises(ValueError, match="positive integer"):
        GroupWhitening(groups)


@pytest.mark.parametrize("whitening", ["iterative", "zca", "cholesky"])
def test_little_to_whiten(whitening):
    # A constant sample, one of equal groups, one of a single place that moves,
    # one of zeros in half of its channels.
    x = np.concatenate([data(), data(seed=1)[:1]])
    x[0] = 3.0
    x[1, ..., 4:] = x[1, ..., :4]
    x[2] = 0.0
    x[2, 0, 0] = 1.0
    x[3, ..., 4:] = 0.0
    options = {"groups": 4, "whitening": whitening, "epsilon": 1e-3}
    layer = GroupWhitening(**options)
    layer.build(x.shape)
    found = gradients(layer, [x], np.ones(x.shape))
    assert np.all(np.isfinite(found.inputs[0]))
    assert not np.any(found.outputs[:1])
    expected, _ = oracle([x], options, {}, {}, False)
    np.testing.assert_allclose(found.outputs, expected, atol=1e-3)


@pytest.mark.parametrize("groups", [4, 8])
def test_fewer_columns_than_groups(groups):
    # (N, C): C / groups columns.
    x = data((6, 8))
    expected, _ = oracle([x], {"groups": groups}, {}, {}, False)
    close(run(x, groups=groups), expected)


def test_half_precision():
    x = data()
    layer = GroupWhitening(4, dtype="mixed_float16")
    layer.build(x.shape)
    y = inference(layer, [x], dtype="float16")
    assert y.dtype == "float16"
    # As large as float16 allows: its square is not.
    large = inference(layer, [x * 1e4], dtype="float16")
    exact = run(x.astype("float16").astype("float32"), groups=4)
    np.testing.assert_allclose(y, exact, atol=4e-3)
    np.testing.assert_allclose(large, exact, atol=1e-2)
    assert keras.backend.standardize_dtype(layer.gamma.dtype) == "float32"
