"""Compiled and eager steps have the same outputs, gradients and state."""

import numpy as np
import pytest

from contract.method import values
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.tolerances import close
from gradients import gradients

pytestmark = pytest.mark.compile

# Seconds for each layer, so that every run takes a few only; `test_fit` of
# test_running.py compiles many in one step.
FEW = (
    "BatchNormalization",
    "LayerNormalization",
    "IterativeNormalization",
    "SwitchableNormalization",
)
# And one whose gradient needs state that the same call moves.
READING = "PopulationBatchNormalization-diminishing"
COMPILED = [m for m in first_of_each() if m.layer in FEW]
COMPILED += [m for m in METHODS if str(m) == READING]


def compare(method):
    inputs = method.inputs()
    shape = method.result(inputs[0].shape)
    upstream = np.random.default_rng(0).normal(size=shape)
    eager, compiled = method.built(), method.built()
    given = [method.given(inputs)]
    a = gradients(eager, given, upstream)
    b = gradients(compiled, given, upstream, jit=True)
    close(first(b.outputs), first(a.outputs))
    for x, y in zip(flat(a.inputs), flat(b.inputs), strict=True):
        close(y, x)
    for x, y in zip(a.weights.values(), b.weights.values(), strict=True):
        close(y, x, entries=inputs[0].size)
    for name, state in values(eager)[1].items():
        close(values(compiled)[1][name], state, entries=inputs[0].size)


def first(outputs):
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def flat(inputs):
    first = inputs[0]
    found = first if isinstance(first, list) else [first]
    return [g for g in found if g is not None]


@pytest.mark.parametrize("method", COMPILED, ids=str)
def test_compiled_step_is_the_eager_step(method):
    compare(method)


@pytest.mark.all
@pytest.mark.parametrize(
    "method",
    [m for m in METHODS if m not in COMPILED and not m.draws],
    ids=str,
)
def test_compiled_step_of_every_row(method):
    compare(method)
