"""The generic layer over the product of what users may combine.

Every area x operation x channel groups x mask x layout x unknown sizes x dtype,
drawn by hypothesis, against the definitions in float64 NumPy. Hypothesis runs
the same examples every time; `ci/test --all` runs many more of them.
"""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

from keras_norm.areas import Area
from keras_norm.areas import Position
from keras_norm.layers import ComposedNormalization
from keras_norm.operations import Center
from keras_norm.operations import Scale
from keras_norm.operations import ScaleByDeviation
from keras_norm.operations import Standardize

EPSILON = 1e-3
MOMENTUM = 0.9
BACKEND = keras.backend.backend()

FAST = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
THOROUGH = settings(FAST, max_examples=600)

OPERATIONS = {
    "standardize": Standardize(),
    "standardize unbiased": Standardize(unbiased=True),
    "center": Center(),
    "scale": Scale(),
    "scale outside": Scale(epsilon_outside=True),
    "scale_by_deviation": ScaleByDeviation(),
}


# The definitions ------------------------------------------------------------


def parts(area, samples, positions, channels):
    """The part of every entry of (N, P, C), and which parts keep one state.

    Returns two arrays of labels: the set whose entries share statistics, and
    the row of state that the set belongs to.
    """
    n, p, c = np.indices((samples, positions, channels))
    if isinstance(area, Position):
        return n * positions + p, None
    groups = {"each": channels, "all": 1}.get(area.columns, area.columns)
    column = c // (channels // groups)
    if area.rows == "each":
        row = n
    elif area.rows == "all":
        row = 0 * n
    elif area.rows == "chunks":
        row = n // area.size
    else:  # the batch in `size` parts, the last ones smaller
        row = n // max(-(-samples // area.size), 1)
    return row * groups + column, column


def expected(x, w, area, operation):
    """(y, statistics to be stored) of x (N, P, C) with weights w."""
    labels, columns = parts(area, *x.shape)
    x = np.where(w > 0, x, 0.0)
    y = np.zeros_like(x)
    found = {}
    for label in np.unique(labels):
        here = labels == label
        values, weights = x[here], w[here]
        total = weights.sum()
        divisor = total if total > 0 else 1.0
        mean = (weights * values).sum() / divisor
        variance = (weights * (values - mean) ** 2).sum() / divisor
        square = (weights * values**2).sum() / divisor
        if getattr(operation, "unbiased", False):
            variance *= total / max(total - 1.0, 1.0)
        if isinstance(operation, Standardize):
            out = (values - mean) / np.sqrt(variance + EPSILON)
            statistics = (mean, variance)
        elif isinstance(operation, Center):
            out, statistics = values - mean, (mean, 0.0)
        elif isinstance(operation, Scale):
            root = np.sqrt(square + EPSILON)
            if operation.epsilon_outside:
                root = np.sqrt(square) + EPSILON
            out, statistics = values / root, (0.0, square)
        else:
            out = values / np.sqrt(variance + EPSILON)
            statistics = (0.0, variance)
        y[here] = out
        if columns is not None:
            row = found.setdefault(columns[here][0], [])
            row.append((total, *statistics))
    return y, found


def expected_state(found, size, initial):
    """Moving average after one step from `initial`; unseen parts keep it."""
    new = [np.array(i, "float64") for i in initial]
    for column in range(size):
        rows = np.array(found.get(column, [(0.0, 0.0, 0.0)]))
        total = rows[:, 0].sum()
        if total > 0:
            batch = (rows[:, :1] * rows[:, 1:]).sum(0) / total
            for value, b in zip(new, batch, strict=True):
                value[column] = MOMENTUM * value[column] + (1 - MOMENTUM) * b
    return new


# What is drawn --------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One call of the layer."""

    shape: tuple  # channels last: (N, ..., C)
    area: object
    operation: str
    channels_first: bool
    mask: str  # none, bool or weights
    mask_rank: int
    nan: bool
    dtype: str
    mean: float
    call: str  # eager, symbolic or compiled
    seed: int


DTYPES = (
    ("float32", "float32"),
    ("float32", "int32"),
    ("mixed_float16", "float32"),
    ("mixed_float16", "float16"),
    ("mixed_bfloat16", "float32"),
)


@st.composite
def cases(draw):
    """Any case; the first of each kind is what examples shrink to."""
    channels = draw(st.sampled_from((4, 1, 6, 12)))
    spatial = draw(st.sampled_from(((5,), (), (3, 4), (1,), (2, 3, 2))))
    samples = draw(st.integers(1, 7))
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    columns = draw(st.sampled_from(("each", "all", *divisors)))
    rows = draw(st.sampled_from(("all", "each", "chunks", "parts")))
    area = Area(rows, columns, size=None if rows in ("all", "each") else 3)
    if draw(st.integers(0, 9)) == 0:
        area = Position()
    rank = len(spatial) + 2
    dtype = draw(st.sampled_from(range(len(DTYPES))))
    mask = draw(st.sampled_from(("none", "none", "bool", "weights")))
    return Case(
        shape=(samples, *spatial, channels),
        area=area,
        operation=draw(st.sampled_from(tuple(OPERATIONS))),
        channels_first=draw(st.booleans()) and rank > 2,
        mask=mask,
        mask_rank=draw(st.integers(1, rank)) if mask != "none" else 0,
        nan=draw(st.booleans()) and mask != "none" and dtype != 1,
        dtype=dtype,
        mean=draw(st.sampled_from((0.0, 0.0, 1e4))) if dtype != 3 else 0.0,
        call=draw(st.sampled_from(("eager", "eager", "symbolic", "compiled"))),
        seed=draw(st.integers(0, 2**16)),
    )


# Calling --------------------------------------------------------------------


def unknown(shape, axis):
    """The shape with every size but that of the channels unknown."""
    return tuple(
        size if i == axis % len(shape) else None for i, size in enumerate(shape)
    )


def symbolic_call(layer, x, mask, axis):
    """Through a functional model whose input has unknown sizes."""
    inputs = [
        keras.Input(batch_shape=unknown(x.shape, axis), dtype=x.dtype.name)
    ]
    values = [x]
    if mask is not None:
        shape = (None,) * mask.ndim
        if mask.ndim > axis % x.ndim:
            shape = unknown(mask.shape, axis)
        inputs.append(keras.Input(batch_shape=shape, dtype=mask.dtype.name))
        values.append(mask)
    given_mask = inputs[1] if mask is not None else None
    y = layer(inputs[0], training=True, mask=given_mask)
    assert tuple(y.shape) == unknown(x.shape, axis)
    model = keras.Model(inputs, y)
    return model([ops.convert_to_tensor(v) for v in values])


def compiled_call(layer, x, mask, axis):
    """In a graph: sizes unknown on TensorFlow, traced on JAX.

    Compiling on torch takes seconds each; a few layers are compiled in the
    contract tests.
    """
    layer.build(x.shape)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        specs = [tf.TensorSpec(unknown(x.shape, axis), x.dtype)]
        if mask is not None:
            shape = (None,) * mask.ndim
            if mask.ndim > axis % x.ndim:
                shape = unknown(mask.shape, axis)
            specs.append(tf.TensorSpec(shape, mask.dtype))

        @tf.function(input_signature=specs)
        def graph(x, mask=None):
            return layer(x, training=True, mask=mask)

        return graph(x) if mask is None else graph(x, mask)
    if BACKEND == "jax":
        import jax

        trainable = [v.value for v in layer.trainable_variables]
        state = [v.value for v in layer.non_trainable_variables]

        @jax.jit
        def graph(state, x, mask):
            return layer.stateless_call(
                trainable, state, x, training=True, mask=mask
            )

        y, state = graph(state, x, mask)
        for variable, value in zip(
            layer.non_trainable_variables, state, strict=True
        ):
            variable.assign(value)
        return y
    return layer(x, training=True, mask=mask)


CALLS = {
    "eager": lambda layer, x, mask, axis: layer(x, training=True, mask=mask),
    "symbolic": symbolic_call,
    "compiled": compiled_call,
}


def as_npc(t):
    return t.reshape(t.shape[0], -1, t.shape[-1])


def check(case):
    """One case: the output, the state, and inference from the state."""
    random = np.random.default_rng(case.seed)
    policy, dtype = DTYPES[case.dtype]
    x = random.normal(size=case.shape) * random.choice([0.3, 1.0, 5.0])
    x = x + case.mean
    x = (10 * x).round().astype(dtype) if dtype == "int32" else x.astype(dtype)
    exact = x.astype("float64")
    axis = -1
    mask, w = None, np.ones(case.shape)
    if case.mask != "none":
        order = list(range(len(case.shape)))
        if case.channels_first:
            order = [0, order[-1], *order[1:-1]]
        # Masks are aligned to the leading axes of what the layer gets.
        shape = tuple(case.shape[i] for i in order)[: case.mask_rank]
        mask = random.integers(0, 2, shape)
        if case.mask == "bool":
            mask = mask.astype("bool")
        else:
            weight = random.choice([0.5, 1.0, 2.0], shape)
            mask = (mask * weight).astype("float32")
        w = mask.reshape(shape + (1,) * (len(order) - mask.ndim))
        w = np.broadcast_to(w, [case.shape[i] for i in order])
        w = np.transpose(w, np.argsort(order)).astype("float64")
        if case.nan:
            x = np.where(w > 0, x, np.nan).astype(dtype)
    if case.channels_first:
        axis = 1
        x = np.moveaxis(x, -1, 1)
    operation = OPERATIONS[case.operation]
    layer = ComposedNormalization(
        area=case.area,
        operation=operation,
        recovery="none",
        axis=axis,
        epsilon=EPSILON,
        dtype=policy,
    )
    y = CALLS[case.call](layer, x, mask, axis)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    y = ops.convert_to_numpy(ops.cast(y, "float32"))
    if case.channels_first:
        y = np.moveaxis(y, 1, -1)
    wanted, found = expected(as_npc(exact), as_npc(w), case.area, operation)
    wanted = wanted.reshape(case.shape)

    # The output in half precision, or 1e-4 relative to the size of what is
    # normalized: 1 where the mean is removed, the mean where it is not.
    size = max(1.0, np.abs(wanted).max())
    tolerance = {"float16": 2e-3, "bfloat16": 1.6e-2}.get(
        layer.compute_dtype, 1e-4
    )
    seen = w > 0
    # Padding far from the mean may leave the range of half precision.
    assert not np.isnan(y).any()
    np.testing.assert_allclose(
        y[seen], wanted[seen], rtol=tolerance, atol=tolerance * size
    )
    names = [n for n in operation.names if n]
    state = [ops.convert_to_numpy(v) for v in layer.non_trainable_weights]
    if case.area == Position() or case.area.rows == "each":
        assert not layer.weights
        return
    assert [v.name for v in layer.weights] == [f"moving_{n}" for n in names]
    groups = len(state[0])
    assert groups == case.area.groups(case.shape[-1])
    after = expected_state(found, groups, [np.zeros(groups), np.ones(groups)])
    after = [a for a, n in zip(after, operation.names, strict=True) if n]
    for value, a in zip(state, after, strict=True):
        np.testing.assert_allclose(
            value, a, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(exact).max())
        )
    check_inference(layer, x, mask, exact, seen, case, tolerance)


def check_inference(layer, x, mask, exact, seen, case, tolerance):
    """Inference uses the state and leaves it alone."""
    before = [ops.convert_to_numpy(v) for v in layer.weights]
    y = layer(x, training=False, mask=mask)
    y = ops.convert_to_numpy(ops.cast(y, "float32"))
    if case.channels_first:
        y = np.moveaxis(y, 1, -1)
    operation = OPERATIONS[case.operation]
    width = case.shape[-1] // len(before[0])
    kept = dict(
        zip(
            [n for n in operation.names if n],
            [np.repeat(b.astype("float64"), width) for b in before],
            strict=True,
        )
    )
    shift = kept.pop("mean", 0.0)
    rate = 1.0
    for spread in kept.values():
        rate = 1.0 / np.sqrt(spread + EPSILON)
        if getattr(operation, "epsilon_outside", False):
            rate = 1.0 / (np.sqrt(spread) + EPSILON)
    wanted = (exact - shift) * rate
    size = max(1.0, np.abs(wanted[seen]).max(initial=0.0))
    np.testing.assert_allclose(
        y[seen], wanted[seen], rtol=tolerance, atol=tolerance * size
    )
    assert not np.isnan(y).any()
    for b, v in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(b, ops.convert_to_numpy(v))


@FAST
@given(cases())
def test_composed_normalization_is_its_definition(case):
    check(case)


@pytest.mark.all
@THOROUGH
@given(cases())
def test_composed_normalization_is_its_definition_thoroughly(case):
    check(case)


# What a compiler may do ------------------------------------------------------


def fixed(layer, x, mask):
    """Compiled by XLA, the mask a constant of the program."""
    layer.build(x.shape)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(
            lambda x: layer(x, training=True, mask=mask), jit_compile=True
        )(x)
    if BACKEND == "jax":
        import jax

        weights = [v.value for v in layer.trainable_variables]
        state = [v.value for v in layer.non_trainable_variables]
        return jax.jit(
            lambda x: layer.stateless_call(
                weights, state, x, training=True, mask=mask
            )[0]
        )(x)
    return layer(x, training=True, mask=mask)


AREAS = {
    "batch": Area(),
    "layer": Area("each", "all"),
    "instance": Area("each", "each"),
    "group": Area("each", 2),
    "batch group": Area("all", 2),
    "ghost": Area("chunks", size=3),
    "parts": Area("parts", size=2),
}


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("masked", [False, True])
def test_mask_that_the_compiler_knows(area, masked):
    """Constants make it rearrange; at 1e4 one rounding more is 1e-3."""
    random = np.random.default_rng(0)
    x = (1e4 + random.normal(size=(7, 5, 6))).astype("float32")
    mask = random.integers(0, 2, (7, 5)).astype("bool") if masked else None
    w = np.ones(x.shape) if mask is None else mask[..., None] * np.ones(6)
    layer = ComposedNormalization(
        area=AREAS[area], recovery="none", epsilon=EPSILON
    )
    y = ops.convert_to_numpy(fixed(layer, x, mask))
    wanted, _ = expected(x.astype("float64"), w, AREAS[area], Standardize())
    np.testing.assert_allclose(y[w > 0], wanted[w > 0], atol=2e-5)
