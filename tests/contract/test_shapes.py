"""Sizes that are not known, any rank, channels first."""

import keras
import numpy as np
import pytest

from contract.calls import answer
from contract.method import SHAPES
from contract.method import channels_first
from contract.method import numpy
from contract.method import outputs
from contract.method import values
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.methods import groups
from contract.methods import representative
from contract.methods import rows
from contract.tolerances import close

# Only TensorFlow traces with unknown sizes; JAX and PyTorch know them.
TRACED = [
    m
    for m in representative()
    if m.any_size and 4 in m.ranks and keras.backend.backend() == "tensorflow"
]


def symbols(method, shape):
    """Symbolic inputs for a first of that shape."""
    made = [keras.KerasTensor(shape, "float32")]
    known = tuple(7 if n is None else n for n in shape)
    for a in method.conditions_for(known):
        unknown = tuple(
            None if i == 0 or n == 7 else n for i, n in enumerate(a.shape)
        )
        made.append(keras.KerasTensor(unknown, a.dtype.name))
    return made


@pytest.mark.parametrize("method", rows(METHODS))
def test_output_shapes(method):
    for rank in method.ranks:
        known = (None, *SHAPES[rank][1:])
        layer = method.make()
        y = layer(method.given(symbols(method, known)))
        first, *others = y if isinstance(y, (list, tuple)) else [y]
        assert tuple(first.shape) == method.result(known)
        for t in others:
            assert tuple(t.shape) == (*known[:-1], 1)
        if method.outputs == 1:
            shapes = [t.shape for t in symbols(method, known)]
            shape = layer.compute_output_shape(
                shapes if method.conditions else known
            )
            assert tuple(shape) == method.result(known)
    if method.any_size:
        unknown = (*(None for _ in SHAPES[method.rank][:-1]), 8)
        y = method.make()(method.given(symbols(method, unknown)))
        first = y[0] if isinstance(y, (list, tuple)) else y
        assert tuple(first.shape) == method.result(unknown)


def traced(function, arrays):
    """`function` compiled for arrays whose sizes, but the last, are unknown."""
    import tensorflow as tf

    signature = [
        tf.TensorSpec(
            [
                None if i == 0 or (0 < i < a.ndim - 1) else n
                for i, n in enumerate(a.shape)
            ],
            a.dtype,
        )
        for a in arrays
    ]
    return tf.function(function, input_signature=signature)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("methods", groups(TRACED, 12), ids=lambda g: str(g[0]))
def test_unknown_sizes(methods, training):
    layers = [m.shared() for m in methods]
    sizes = [(6, 4, 3, 8), (5, 3, 4, 8)]
    arrays = [inputs_together(methods, size) for size in sizes]

    def run(*arrays):
        arrays = list(arrays)
        x, found = arrays.pop(0), []
        for method, layer in zip(methods, layers, strict=True):
            rest = [arrays.pop(0) for _ in method.conditions]
            y = layer(method.given([x, *rest]), training=training)
            found.append(y[0] if isinstance(y, (list, tuple)) else y)
        return found

    compiled = traced(run, arrays[0])
    for given in arrays:
        # With the seeds, which are no weights.
        before = [[numpy(v) for v in layer.variables] for layer in layers]
        tensors = [keras.ops.convert_to_tensor(a) for a in given]
        y = outputs(compiled(*tensors))
        after = [values(layer)[1] for layer in layers]
        for layer, held in zip(layers, before, strict=True):
            for variable, value in zip(layer.variables, held, strict=True):
                variable.assign(value)
        expected = outputs(run(*tensors))
        for a, b in zip(y, expected, strict=True):
            close(a, b)
        for layer, state in zip(layers, after, strict=True):
            for name, value in values(layer)[1].items():
                close(state[name], value)


def inputs_together(methods, shape):
    first = methods[0].inputs(shape=shape)[0]
    rest = [a for m in methods for a in m.conditions_for(shape)]
    return [first, *rest]


@pytest.mark.parametrize(
    "method",
    [m for m in first_of_each() if m.takes_axis and 2 in m.ranks],
    ids=str,
)
def test_axis_of_vectors_may_be_counted_from_either_end(method):
    layer, same = method.shared(2), method.built(2, axis=1)
    given = method.given(method.inputs(2))
    pairs = zip(
        outputs(answer(layer, given, training=True)),
        outputs(answer(same, given, training=True)),
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", rows([m for m in METHODS if m.takes_axis]))
def test_channels_first(method):
    x, *others = method.inputs()
    layer, same = method.shared(), method.built(axis=1)
    moved = [
        np.moveaxis(a, -1, 1) if a.ndim == x.ndim else a for a in (x, *others)
    ]
    for training in (True, False):
        y = outputs(
            answer(layer, method.given([x, *others]), training=training)
        )
        y1 = outputs(answer(same, method.given(moved), training=training))
        assert y1[0].shape == channels_first(x.shape)
        for a, b in zip(y1, y, strict=True):
            close(np.moveaxis(a, 1, -1), b)
    for a, b in zip(values(layer), values(same), strict=True):
        for name in a:
            close(b[name], a[name])


@pytest.mark.parametrize("method", first_of_each(), ids=str)
def test_static_sizes_in_a_functional_model(method):
    shape = method.shape()
    x = keras.Input(batch_shape=shape)
    rest = [
        keras.Input(batch_shape=a.shape, dtype=a.dtype.name)
        for a in method.conditions_for(shape)
    ]
    layer = method.built()
    y = layer(method.given([x, *rest]))
    model = keras.Model([x, *rest], y)
    inputs = method.inputs()
    expected = outputs(answer(layer, method.given(inputs)))
    for a, b in zip(outputs(model(inputs)), expected, strict=True):
        close(numpy(keras.ops.convert_to_tensor(a)), b)
