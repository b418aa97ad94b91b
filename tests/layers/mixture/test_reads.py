"""How often a traced program goes over the input: once for the moments.

The program is the same on all backends; JAX's is the one that can be read.
"""

import keras
import numpy as np
import pytest

from contract.methods import METHODS

SHAPE = (4, 24, 20, 8)
ENTRIES = int(np.prod(SHAPE))
FOLDING = ("reduce_", "arg", "cum", "dot_general")


def equations(jaxpr):
    """Those of a program and of all programs within."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def sizes(variables):
    return [int(np.prod(v.aval.shape)) for v in variables]


def rows():
    """The mixtures. Finding modes by iterations reads the data in each."""
    return [
        m
        for m in METHODS
        if m.cls.__module__.startswith("keras_norm.layers.mixture")
        and m.layer != "MixtureNormalization"
    ]


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="needs a program to read"
)
@pytest.mark.parametrize("method", rows(), ids=str)
def test_one_pass_and_no_copies(method):
    import jax

    layer = method.make()
    method.build(layer, SHAPE)

    def call(trained, kept, given):
        return layer.stateless_call(trained, kept, given, training=True)

    found = list(
        equations(
            jax.make_jaxpr(call)(
                [v.value for v in layer.trainable_variables],
                [v.value for v in layer.non_trainable_variables],
                method.given(method.inputs(shape=SHAPE)),
            ).jaxpr
        )
    )
    # The means of x - pivot and of its square, which XLA computes together.
    folds = [
        e.primitive.name
        for e in found
        if e.primitive.name.startswith(FOLDING)
        and max(sizes(e.invars)) >= ENTRIES
    ]
    assert folds == ["reduce_sum", "reduce_sum"]
    # Nothing is larger than the input: no copy of it for every normalizer.
    assert max(max(sizes(e.outvars)) for e in found) == ENTRIES
