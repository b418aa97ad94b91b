"""What the graphs of the whitening chapter are made of.

Inference is matrix products: no decomposition, loop or call out of XLA, which
some runtime would not know. Training by Newton steps needs none either, and
by Cholesky factors only what every XLA compiler brings.
"""

import jax
import keras
import pytest
from jax import numpy as jnp

from contract.methods import METHODS
from keras_norm import catalog

WHITENING = {
    name.removeprefix("layers.")
    for row in catalog.METHODS
    if 25 <= row.number <= 34
    for name in row.public_names
}
ROWS = [m for m in METHODS if m.layer in WHITENING]
# Operations of StableHLO that are no plain arithmetic on arrays.
FOREIGN = (
    "stablehlo.custom_call",
    "stablehlo.while",
    "stablehlo.cholesky",
    "stablehlo.triangular_solve",
)
# Calls back into Python.
CALLBACKS = ("callback", "py_func")


def program(method, training):
    """StableHLO of a call for TPU, with the gradients of a training step."""
    layer = method.built()
    inputs = [keras.ops.convert_to_tensor(a) for a in method.inputs()]
    floats = [t for t in inputs if t.dtype != "int32"]
    integers = [t for t in inputs if t.dtype == "int32"]

    def call(trainable, floats, state, integers):
        given = [*floats, *integers]
        given = given if len(given) > 1 else given[0]
        return layer.stateless_call(trainable, state, given, training=training)

    def step(*arguments):
        def total(*arguments):
            y, state = call(*arguments)
            return sum(jnp.sum(t) for t in jax.tree.leaves(y)), state

        return jax.grad(total, argnums=(0, 1), has_aux=True)(*arguments)

    arguments = jax.tree.map(
        lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype),
        (
            [v.value for v in layer.trainable_variables],
            floats,
            [v.value for v in layer.non_trainable_variables],
            integers,
        ),
    )
    function = jax.jit(step if training else call)
    exported = jax.export.export(function, platforms=["tpu"])(*arguments)
    return exported.mlir_module()


def foreign(text, names=FOREIGN):
    """The operations among `names` that a program has."""
    return sorted({name for name in names if name in text})


@pytest.mark.parametrize(
    "method", [m for m in ROWS if not m.decomposes], ids=str
)
def test_inference_is_matrix_products(method):
    assert not foreign(program(method, training=False))


def uses(method, name):
    """Does a row find its matrices that way?"""
    return name in method.options.values() or name in str(method.make())


NEWTON = [
    m
    for m in ROWS
    if m.layer.startswith(("Deconvolution", "Channel"))
    or any(uses(m, n) for n in ("newton", "iterative", "Newton"))
]
CHOLESKY = [m for m in ROWS if uses(m, "cholesky") or uses(m, "Cholesky")]


@pytest.mark.parametrize("method", NEWTON, ids=str)
def test_newton_trains_by_matrix_products(method):
    assert not foreign(program(method, training=True))


@pytest.mark.parametrize("method", CHOLESKY, ids=str)
def test_cholesky_trains_without_leaving_xla(method):
    text = program(method, training=True)
    # Both are operations of XLA itself.
    assert not foreign(text, ("stablehlo.custom_call", "stablehlo.while"))
    assert not foreign(text, CALLBACKS)


def test_both_ways_are_in_the_table():
    assert len(NEWTON) >= 5 and len(CHOLESKY) >= 3
