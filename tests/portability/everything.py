"""One model that holds every layer of the package, a branch for each.

The layers and their settings are those of the contract's table.
"""

import keras
import numpy as np
import pytest

from contract.method import CONDITIONS
from contract.method import SHAPES
from contract.method import scramble
from contract.methods import METHODS
from contract.methods import representative
from contract.others import OTHERS
from contract.wrapped import Wrapper

# The sizes of the inputs; batches may be of any size.
BATCH = 6
# Every layer, or every row of the table.
TIERS = [
    pytest.param([*representative(), *OTHERS], id="layers"),
    pytest.param([*METHODS, *OTHERS], id="settings", marks=pytest.mark.all),
]


def is_whole(method, unknown):
    """Must the sizes of the positions be known?"""
    # Weights over the positions; moments that must have the input's sizes,
    # which JAX does not know of two inputs with sizes left open.
    several = isinstance(method.options.get("axis"), tuple)
    # JAX exports no convolution of unknown sizes, be it Keras' own.
    jax = keras.backend.backend() == "jax"
    convolves = jax and (
        method.layer == "DeconvolutionConv2D" or isinstance(method, Wrapper)
    )
    sized = getattr(method, "whole", False)
    known = several or convolves or sized or "moments" in method.conditions
    return known or not unknown


def inputs_of(methods, unknown):
    """Shapes, without the batch, and dtypes of all inputs by name."""
    found = {}
    for method in methods:
        rank, whole = method.rank, is_whole(method, unknown)
        first, *names = names_of(method, unknown)
        found[first] = (shape_of(rank, not whole), "float32")
        for kind, name in zip(method.conditions, names, strict=True):
            shape = CONDITIONS[kind](SHAPES[rank], -1)[1:]
            if kind == "style":
                shape = shape_of(rank, not whole)
            labels = kind in ("labels", "two labels")
            found[name] = (shape, "int32" if labels else "float32")
    return found


def shape_of(rank, unknown):
    """A shape of the table without its batch, perhaps without its sizes."""
    shape = SHAPES[rank][1:]
    return (*((None,) * (rank - 2) if unknown else shape[:-1]), shape[-1])


def names_of(method, unknown):
    """Names of the inputs of one layer."""
    first = f"x{method.rank}"
    if not is_whole(method, unknown):
        first += "_any"
    kinds = [kind.replace(" ", "_") for kind in method.conditions]
    return [first, *(f"{first}_{kind}" for kind in kinds)]


def make(methods, unknown=False):
    """The model, its state and weights scrambled."""
    tensors = {
        name: keras.Input(shape, dtype=dtype, name=name)
        for name, (shape, dtype) in inputs_of(methods, unknown).items()
    }
    outputs = {}
    for i, method in enumerate(methods):
        layer = method.make(name=f"layer_{i}")
        given = [tensors[name] for name in names_of(method, unknown)]
        y = layer(given if method.conditions else given[0])
        several = y if isinstance(y, list | tuple) else [y]
        for k, t in enumerate(several):
            # A name of its own for every output.
            outputs[f"{i:03d}_{k}"] = keras.layers.Identity()(t)
        scramble(layer, i)
    return keras.Model(tensors, outputs)


def data(model, batch=BATCH, sizes=(4, 3), seed=0):
    """Arrays for all inputs; `sizes` where the model leaves them open."""
    rng = np.random.default_rng(seed)
    made = {}
    for tensor in model.inputs:
        # Inputs of any rank take as many sizes as they have open.
        rest = iter(sizes * 2)
        shape = [next(rest) if n is None else n for n in tensor.shape[1:]]
        shape = (batch, *shape)
        if tensor.dtype == "int32":
            made[tensor.name] = rng.integers(0, 3, shape).astype("int32")
        elif tensor.name.endswith("soft_labels"):
            # Shares of a whole.
            shares = rng.dirichlet(np.ones(shape[-1]), batch)
            made[tensor.name] = shares.astype("float32")
        else:
            made[tensor.name] = rng.normal(0.5, 1.0, shape).astype("float32")
    return made


def answer(model, inputs):
    """The outputs of the model as arrays."""
    if keras.backend.backend() == "jax":
        return model.predict(inputs, verbose=0)
    # Not worth compiling a hundred layers for one answer.
    outputs = model(inputs, training=False)
    return {k: keras.ops.convert_to_numpy(y) for k, y in outputs.items()}


def labels(methods):
    """Name of an output -> the method it belongs to."""
    return {f"{i:03d}": str(method) for i, method in enumerate(methods)}


def differences(expected, found, methods, tolerance=1e-5):
    """The methods whose outputs differ by more than the tolerance."""
    names = labels(methods)
    assert expected.keys() == found.keys()
    wrong = {}
    for key, e in expected.items():
        error = np.abs(found[key] - e) / np.maximum(1.0, np.abs(e))
        # Written so that NaN is wrong.
        if not (error <= tolerance).all():
            wrong[names[key.split("_")[0]]] = float(error.max())
    return wrong
