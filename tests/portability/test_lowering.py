"""Every layer's training step lowers for CPU, CUDA and TPU.

Lowering needs no such device: what XLA cannot compile for one (a
decomposition, a dynamic shape, float64) shows here.
"""

import inspect

import jax
import keras
import pytest
from jax import numpy as jnp

from contract.methods import METHODS
from contract.methods import rows
from contract.recurrent import RECURRENT

PLATFORMS = ("cpu", "cuda", "tpu")


def step(layer):
    """Outputs, state and all gradients of a training step."""
    keywords = {}
    if "training" in inspect.signature(layer.call).parameters:
        keywords["training"] = True

    def total(trainable, floats, state, integers):
        given = [*floats, *integers]
        given = given if len(given) > 1 else given[0]
        y, state = layer.stateless_call(trainable, state, given, **keywords)
        return sum(jnp.sum(t) for t in jax.tree.leaves(y)), (y, state)

    return jax.grad(total, argnums=(0, 1), has_aux=True)


@pytest.mark.parametrize(
    "method",
    [*rows(METHODS), *(pytest.param(m, id=str(m)) for m in RECURRENT[:-2])],
)
def test_training_step_lowers_for_every_platform(method):
    layer = method.built()
    inputs = [keras.ops.convert_to_tensor(a) for a in method.inputs()]
    # The first input is a float, integers are conditions: the order stays.
    floats = [t for t in inputs if t.dtype != "int32"]
    integers = [t for t in inputs if t.dtype == "int32"]
    values = jax.export.export(jax.jit(step(layer)), platforms=PLATFORMS)(
        *jax.tree.map(
            lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype),
            (
                [v.value for v in layer.trainable_variables],
                floats,
                [v.value for v in layer.non_trainable_variables],
                integers,
            ),
        )
    )
    assert values.platforms == PLATFORMS
    assert not any("float64" in str(a.dtype) for a in values.out_avals)
