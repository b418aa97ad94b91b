"""Weights of plain recurrent layers, and what is refused."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from layers.recurrent.cases import FEATURES
from layers.recurrent.cases import TIME
from layers.recurrent.cases import UNITS
from layers.recurrent.cases import array
from layers.recurrent.cases import assign
from layers.recurrent.cases import built

LSTM, GRU = "LayerNormalizedLSTM", "LayerNormalizedGRU"
BATCH_LSTM = "BatchNormalizedLSTM"
ALL = [LSTM, GRU, BATCH_LSTM]


def plain(name, features=FEATURES, **options):
    """Keras' layer of this kind, its weights drawn."""
    kind = keras.layers.GRU if name == GRU else keras.layers.LSTM
    layer = kind(UNITS, **options)
    layer.build((None, TIME, features))
    assign(layer, seed=5)
    return layer


@pytest.mark.parametrize(
    "name, options",
    [
        (LSTM, {}),
        (LSTM, {"use_bias": False}),
        (GRU, {}),
        (GRU, {"reset_after": False}),
        (BATCH_LSTM, {}),
        (BATCH_LSTM, {"use_bias": False}),
    ],
)
def test_weights_of_a_plain_layer(name, options):
    layer, other = built(name, **options), plain(name, **options)
    given = other.get_weights()
    before = layer.get_weights()
    layer.set_weights(given)
    after = layer.get_weights()
    assert len(before) > len(given)
    for a, b in zip(after, given + before[len(given) :], strict=True):
        np.testing.assert_array_equal(a, b)
    for place in ("kernel", "recurrent_kernel", "bias"):
        if place == "bias" and not options.get("use_bias", True):
            continue
        np.testing.assert_array_equal(
            array(getattr(layer.cell, place)), array(getattr(other.cell, place))
        )
    # All of its own weights, too.
    layer.set_weights(before)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ALL)
def test_other_weights_are_refused(name):
    layer = built(name)
    before = layer.get_weights()
    for wrong in (
        plain(name, features=FEATURES + 1).get_weights(),
        plain(name, use_bias=False).get_weights(),
        before[:-1],
        [*before, np.zeros(UNITS)],
        [],
    ):
        with pytest.raises(ValueError):
            layer.set_weights(wrong)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name", [LSTM, GRU, "LayerNormalizedLSTMCell", "LayerNormalizedGRUCell"]
)
def test_unknown_placement(name):
    with pytest.raises(ValueError, match="placement.*'inside'"):
        getattr(kn.layers, name)(UNITS, placement="inside")


@pytest.mark.parametrize("name", ALL)
def test_no_cudnn(name):
    with pytest.raises(ValueError, match="use_cudnn"):
        getattr(kn.layers, name)(UNITS, use_cudnn=True)
    for value in ("auto", False):
        getattr(kn.layers, name)(UNITS, use_cudnn=value)


def test_unknown_length():
    with pytest.raises(ValueError, match="max_time_steps"):
        kn.layers.BatchNormalizedLSTM(UNITS).build((None, None, FEATURES))
    layer = kn.layers.BatchNormalizedLSTM(UNITS, max_time_steps=3)
    layer.build((None, None, FEATURES))
    means = [v for v in layer.variables if "moving_mean" in v.name]
    assert [v.shape[0] for v in means] == [3, 3, 3]


@pytest.mark.parametrize(
    "argument, value",
    [
        ("max_time_steps", 0),
        ("max_time_steps", -2),
        ("max_time_steps", 2.5),
        ("momentum", -0.1),
        ("momentum", 1.5),
        ("momentum", "much"),
    ],
)
def test_batch_normalized_arguments(argument, value):
    with pytest.raises(ValueError, match=argument):
        kn.layers.BatchNormalizedLSTM(UNITS, **{argument: value})
