"""Gradients, against central differences of the formulas in float64."""

import keras
import numpy as np
import pytest

from functions import differences
from gradients import gradients
from layers.recurrent.cases import BATCH
from layers.recurrent.cases import FEATURES
from layers.recurrent.cases import HOLES
from layers.recurrent.cases import NEAR
from layers.recurrent.cases import PADDED
from layers.recurrent.cases import TIME
from layers.recurrent.cases import built
from layers.recurrent.cases import draw
from layers.recurrent.cases import first_states
from layers.recurrent.cases import formula
from layers.recurrent.cases import given_states
from layers.recurrent.cases import moving
from layers.recurrent.cases import parameters
from layers.recurrent.cases import sequences
from layers.recurrent.cases import short

LSTM, GRU = "LayerNormalizedLSTM", "LayerNormalizedGRU"
BATCH_LSTM = "BatchNormalizedLSTM"
SUM = {"placement": "sum", "norm_per_gate": True, "normalize_carry": True}
CASES = [
    (LSTM, {}, None),
    (LSTM, SUM, HOLES),
    (GRU, {"reset_after": False}, PADDED),
    (GRU, {"placement": "sum"}, None),
    (BATCH_LSTM, {"max_time_steps": 2, "epsilon": 1e-3}, HOLES),
]
MORE = [
    (GRU, {"norm_per_gate": True}, PADDED),
    (GRU, {"reset_after": False, "placement": "sum"}, HOLES),
    (BATCH_LSTM, {}, None),
]


def seen(mask):
    """Outputs of a sample from its first time step that counts."""
    if mask is None:
        return np.ones((BATCH, TIME, 1), bool)
    return np.logical_or.accumulate(mask, 1)[:, :, None]


def check(name, options, mask, x, states, training, tolerance):
    """All entries of all gradients, of outputs and last states together."""
    layer = built(name, **options)
    weights = parameters(layer)
    function = formula(name, options, moving(layer), training)
    # As what comes before that is not defined, nobody asks for it.
    told = seen(mask)

    def flat(x, *rest):
        given, values = rest[: len(states or [])], rest[len(states or []) :]
        outputs, last, _ = function(
            x,
            dict(zip(weights, values, strict=True)),
            initial_state=list(given) or None,
            mask=mask,
        )
        outputs = np.where(told, outputs, 0.0)
        return np.concatenate([o.ravel() for o in (outputs, *last)])

    inputs = [x] if states is None else [x, given_states(name, states)]
    count = 1 if name == GRU else 2
    shapes = [(BATCH, TIME, 4)] + [(BATCH, 4)] * count
    upstream = [draw(*s, seed=7 + k) for k, s in enumerate(shapes)]
    upstream[0] = upstream[0] * told
    found = gradients(
        layer,
        inputs,
        upstream,
        training=training,
        mask=mask,
        jit=keras.backend.backend() == "jax",
    )
    expected = differences(
        flat,
        [x, *(states or []), *weights.values()],
        np.concatenate([u.ravel() for u in upstream]),
    )
    of_weights = {short(n): g for n, g in found.weights.items()}
    assert list(of_weights) == list(weights)
    actual = [*keras.tree.flatten(found.inputs), *of_weights.values()]
    # One bound for all: entries of small gradients are sums of the same terms
    # as those of large ones.
    scale = max(1.0, max(np.abs(e).max() for e in expected))
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert np.isfinite(a).all()
        assert np.abs(a - e).max() <= tolerance * scale
    return actual


def case(name, options, mask, **keywords):
    words = [name, *options, "whole" if mask is None else "mask"]
    return pytest.param(name, options, mask, id="-".join(words), **keywords)


@pytest.mark.parametrize(
    "name, options, mask",
    [case(*c) for c in CASES] + [case(*c, marks=pytest.mark.all) for c in MORE],
)
def test_gradients(name, options, mask):
    # Forth and back: twice the roundings of an output, and 1e-8 of the
    # differences, which lose half of the digits of float64.
    training = name == BATCH_LSTM
    states = first_states(name)
    tolerance = 2 * NEAR + 1e-8
    found = check(name, options, mask, sequences(), states, training, tolerance)
    if mask is not None and not training:
        assert not np.any(found[0][~mask])


@pytest.mark.all
def test_gradients_of_inference():
    states = first_states(BATCH_LSTM)
    check(BATCH_LSTM, {}, None, sequences(), states, False, 2 * NEAR + 1e-8)


def test_first_states_of_zeros_have_no_variance():
    # U h is 0 for all samples: normalized to 0, with gradients that are
    # finite, and those of the formula.
    check(BATCH_LSTM, {}, None, sequences(), None, True, 2 * NEAR + 1e-8)


@pytest.mark.all
def test_equal_samples():
    # Every normalization divides the change of one sample by sqrt(epsilon),
    # time step after time step: large, as the formula has it, and finite.
    x = np.broadcast_to(sequences()[:1], (BATCH, TIME, FEATURES)).copy()
    found = gradients(
        built(BATCH_LSTM),
        [x],
        [draw(BATCH, TIME, 4), None, None],
        jit=keras.backend.backend() == "jax",
    )
    for g in (found.inputs[0], *found.weights.values()):
        assert np.isfinite(g).all()
