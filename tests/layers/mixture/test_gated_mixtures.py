"""Batch-instance, layer-instance, and adaptive layer-instance: gates."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import AdaptiveLayerInstanceNormalization
from keras_norm.layers import BatchInstanceNormalization
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import LayerInstanceNormalization

SHAPE = (6, 4, 3, 8)


def data(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, shape).astype("float32")


def gated(cls, gate, **options):
    layer = cls(gate_initializer=keras.initializers.Constant(gate), **options)
    layer.build(SHAPE)
    return layer


@pytest.mark.parametrize(
    "cls, gate, twin",
    [
        (BatchInstanceNormalization, 1.0, BatchNormalization),
        (BatchInstanceNormalization, 0.0, InstanceNormalization),
        (LayerInstanceNormalization, 1.0, InstanceNormalization),
        (LayerInstanceNormalization, 0.0, GroupNormalization),
    ],
)
def test_the_ends_of_the_gate(cls, gate, twin):
    options = {"groups": 1} if twin is GroupNormalization else {}
    if twin is BatchNormalization:
        options = {"momentum": 0.9}
    layer, same = gated(cls, gate), twin(epsilon=1e-5, **options)
    x, upstream = data(), data(1)
    ours, theirs = (gradients(t, [x], upstream) for t in (layer, same))
    close(ours.outputs, theirs.outputs, entries=x.size)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)
    for name in ("gamma", "beta"):
        close(ours.weights[name], theirs.weights[name], entries=x.size)
    close(numpy(layer(x)), numpy(same(x)), entries=x.size)


def test_of_one_sample_the_gate_says_nothing():
    x = data(shape=(1, *SHAPE[1:]))
    y = [
        numpy(gated(BatchInstanceNormalization, g)(x, training=True))
        for g in (0.0, 0.3, 1.0)
    ]
    close(y[1], y[0], entries=x.size)
    close(y[2], y[0], entries=x.size)


@pytest.mark.parametrize("unbiased", [False, True])
def test_given_gamma_and_beta_do_what_learned_ones_do(unbiased):
    plain = gated(LayerInstanceNormalization, 0.3, unbiased=unbiased)
    rng = np.random.default_rng(2)
    gamma, beta = rng.normal(size=(2, 8)).astype("float32")
    plain.gamma.assign(gamma)
    plain.beta.assign(beta)
    layer = AdaptiveLayerInstanceNormalization(
        gate_initializer=0.3, unbiased=unbiased
    )
    x = data()
    given = [np.tile(t, (6, 1)) for t in (gamma, beta)]
    close(numpy(layer(x, *given)), numpy(plain(x)), entries=x.size)
    # Both in one.
    both = np.concatenate(given, axis=-1)
    close(numpy(layer([x, both])), numpy(plain(x)), entries=x.size)


@pytest.mark.parametrize(
    "cls", [BatchInstanceNormalization, LayerInstanceNormalization]
)
def test_gates_stay_within_bounds(cls):
    layer = gated(cls, 0.5)
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
    model.compile(keras.optimizers.SGD(100.0), "mse")
    model.train_on_batch(data(), data(1))
    gate = numpy(layer.gate)
    assert np.all((gate >= 0) & (gate <= 1))
    # Some of them had gone too far.
    assert np.any((gate == 0) | (gate == 1))


@pytest.mark.parametrize(
    "cls, shapes",
    [
        (BatchInstanceNormalization, (6, 8)),
        (LayerInstanceNormalization, (6, 8)),
        (AdaptiveLayerInstanceNormalization, [(6, 8)] * 3),
    ],
)
def test_inputs_without_positions(cls, shapes):
    with pytest.raises(ValueError, match="must have positions"):
        cls().build(shapes)


@pytest.mark.parametrize("shapes", [[(6, 5)] * 2, [(6, 1)] * 2, [(6, 8)]])
def test_gamma_and_beta_must_fit(shapes):
    layer = AdaptiveLayerInstanceNormalization()
    with pytest.raises(ValueError, match="gamma and beta must"):
        layer(data(), *map(np.ones, shapes))
