"""The table itself: nothing that the package exports is left out of it."""

import inspect

import keras
import numpy as np
import pytest

from contract.method import own_weights
from contract.method import values
from contract.methods import METHODS
from contract.methods import TABLE
from contract.others import OTHERS
from keras_norm import catalog
from keras_norm import layers

# Names, shapes and initial values: no backend computes anything.
pytestmark = pytest.mark.once
ROWS = {row.number: row for row in catalog.METHODS}


def exported():
    """Names of the layers of `keras_norm.layers`."""
    return [
        name
        for name, thing in vars(layers).items()
        if inspect.isclass(thing) and issubclass(thing, keras.layers.Layer)
    ]


def test_every_layer_has_a_row():
    missing = set(exported()) - {row.layer for row in (*TABLE, *OTHERS)}
    assert not missing, f"no row in tests/contract/table: {missing}"


def test_only_planned_layers_are_left_out():
    for method in TABLE:
        if not method.exists:
            public = f"layers.{method.layer}"
            assert public in ROWS[method.number].missing, method


@pytest.mark.parametrize("method", TABLE, ids=str)
def test_number_is_that_of_the_layer(method):
    assert f"layers.{method.layer}" in ROWS[method.number].public_names
    assert method.mask_behaviour in ("statistics", "passes", "refuses")


def test_rows_are_told_apart():
    names = [str(method) for method in TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_weights_in_the_order_of_the_table(method):
    layer = method.built()
    weights, state = values(layer)
    assert tuple(weights) == method.weights
    assert tuple(state) == (*method.held, *method.state)
    # The order of Keras' layers: its own trainable weights, its own state, and
    # only then those of inner layers.
    own = [v.name for v in own_weights(layer)]
    named = (
        *method.weights,
        *method.constants,
        *method.held,
        *method.state,
    )
    inner = [name for name in named if name not in own]
    assert own == [name for name in named if name in own]
    assert len(layer.get_weights()) == len(own) + len(inner)


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.oracle is None], ids=str
)
def test_shapes_of_weights_and_state_are_those_of_the_formulas(method):
    from oracles import initial_state
    from oracles import weight_shapes

    shapes = [a.shape for a in method.inputs()]
    weights, state = values(method.built())
    expected = weight_shapes(method.layer, method.options, shapes)
    found = {k: v.shape for k, v in weights.items()}
    assert found == {k: expected[k] for k in method.weights}
    initial = initial_state(method.layer, method.options, shapes[0])
    layer = method.make()
    method.build(layer, shapes[0])
    _, fresh = values(layer)
    assert {k: v.shape for k, v in fresh.items()} == {
        k: v.shape for k, v in initial.items()
    }
    for name, value in fresh.items():
        np.testing.assert_allclose(value, initial[name], rtol=1e-6)


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.twin], ids=lambda m: m.twin
)
def test_drop_in_has_the_arguments_of_keras_in_their_order(method):
    twin = getattr(keras.layers, method.twin)
    theirs, ours = (
        [
            (p.name, p.default)
            for p in inspect.signature(cls.__init__).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        for cls in (twin, method.cls)
    )
    assert ours[: len(theirs)] == theirs
