"""Semantic attentive normalization: layouts, positions, what is added.

What every layer promises is tested in tests/contract; gradients come from the
authors' program (tests/golden).
"""

import keras
import numpy as np
import pytest

from contract.method import scramble
from contract.method import values
from contract.test_errors import refuses
from contract.tolerances import close
from keras_norm.layers import SemanticAttentiveNormalization
from oracles.spatial import orthogonal_loss
from oracles.spatial import semantic_attentive_normalization as oracle

SHAPE = (6, 4, 3, 8)
POSITIONS = np.array([3, 11, 3], "int32")


class Given(SemanticAttentiveNormalization):
    """Positions that are known."""

    def draw(self, positions):
        return keras.ops.convert_to_tensor(POSITIONS)


def data(*shape, seed=0, mean=0.5):
    values = np.random.default_rng(seed).normal(mean, 1.0, shape)
    return values.astype("float32")


def called(layer, x, **options):
    return keras.ops.convert_to_numpy(layer(x, **options))


@pytest.mark.parametrize("mean", [0.5, 1e4])
@pytest.mark.parametrize("statistics", ["paper", "program"])
def test_formula_at_given_positions(statistics, mean):
    config = {"num_entities": 3, "statistics": statistics}
    x = data(*SHAPE, mean=mean)
    layer = Given(**config)
    layer.build(x.shape)
    scramble(layer)
    weights, _ = values(layer)
    for training in (True, False):
        y = called(layer, x, training=training)
        inputs = [x, POSITIONS]
        expected, _ = oracle(inputs, config, weights, {}, training)
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * scale)


def test_starts_as_the_identity():
    x = data(*SHAPE)
    layer = SemanticAttentiveNormalization()
    for training in (True, False):
        np.testing.assert_array_equal(called(layer, x, training=training), x)


@pytest.mark.parametrize("mean", [0.5, 1e4])
def test_one_entity_is_an_instance_of_the_values(mean):
    x = data(*SHAPE, mean=mean)
    layer = SemanticAttentiveNormalization(num_entities=1)
    layer.build(x.shape)
    layer.gain.assign(1.0)
    layer.value_kernel.assign(np.eye(8))
    exact = x.astype("float64")
    centred = exact - exact.mean((1, 2), keepdims=True)
    expected = centred / (centred.std((1, 2), keepdims=True) + 1e-7)
    y = called(layer, x) - x
    atol = 1e-5 if mean < 1 else 1e-3  # y itself is a float32 near the mean.
    np.testing.assert_allclose(y, expected, rtol=0, atol=atol)


def test_positions_are_drawn_from_all_places():
    layer = SemanticAttentiveNormalization(num_entities=400, seed=1)
    first, second = (keras.ops.convert_to_numpy(layer.draw(5)) for _ in "ab")
    assert sorted(set(first)) == [0, 1, 2, 3, 4]
    # Half of 80 each way would be nine deviations.
    assert np.all(np.abs(np.bincount(first) - 80) < 40)
    assert np.any(first != second)
    again = SemanticAttentiveNormalization(num_entities=400, seed=1).draw(5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again), first)


@pytest.mark.compile
def test_a_compiled_epoch_is_an_eager_one_at_given_positions():
    x = data(12, 4, 3, 8)
    target = data(12, 4, 3, 8, seed=1)
    found = []
    for eager in (False, True):
        layer = Given(3)
        layer.build(SHAPE)
        scramble(layer)
        # Equal ones would leave the bias of the keys without effect.
        layer.alpha.assign([0.1, 0.4, 0.8])
        before = layer.get_weights()
        model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
        xla = not eager and keras.backend.backend() != "torch"
        model.compile("sgd", "mse", run_eagerly=eager, jit_compile=xla)
        model.fit(x, target, batch_size=6, epochs=1, shuffle=False, verbose=0)
        found.append(layer.get_weights())
    for a, b, old in zip(*found, before, strict=True):
        assert np.any(a != old)
        close(a, b, entries=576)


def test_loss():
    x = data(*SHAPE)
    layer = SemanticAttentiveNormalization(4, orthogonal_weight=0.5)
    layer(x)
    (found,) = layer.losses
    kernel = keras.ops.convert_to_numpy(layer.entity_kernel)
    expected = 0.5 * orthogonal_loss(kernel.astype("float64"))
    found = keras.ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    layer = SemanticAttentiveNormalization(4, orthogonal_weight=0.0)
    layer(x)
    assert not layer.losses


def test_alpha_stays_a_fraction():
    layer = SemanticAttentiveNormalization(3)
    layer.build(SHAPE)
    kept = layer.alpha.constraint(np.array([-0.5, 0.3, 1.5], "float32"))
    close(keras.ops.convert_to_numpy(kept), [0.0, 0.3, 1.0])


def test_errors():
    make = SemanticAttentiveNormalization
    refuses(lambda: make(num_entities=0), "`num_entities`")
    refuses(lambda: make(temperature=0.0), "`temperature`")
    refuses(lambda: make(orthogonal_weight=-1.0), "`orthogonal_weight`")
    refuses(lambda: make(statistics="papers"), "`statistics`", "paper")
