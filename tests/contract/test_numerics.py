"""Data far from zero: the result of float64, on every backend.

x = m + N(0, 1), rounded to float32 once. What is promised is the error of the
normalized output: 1e-4 at m = 1e4, 1e-3 at 1e5, 1e-2 at 1e6; relative to the
largest entry where nothing is subtracted.
"""

import keras
import numpy as np
import pytest

from contract.compiled import compiled
from contract.method import outputs
from contract.method import values
from contract.methods import METHODS
from contract.methods import TABLE
from contract.methods import groups
from contract.methods import representative
from contract.methods import rows
from contract.shifted import shifted_inputs
from contract.shifted import shifted_layer
from contract.shifted import with_outlier
from contract.tolerances import largest

COMPARED = [m for m in METHODS if m.reference()]
SEQUENCES = [
    m for m in COMPARED if 3 in m.ranks and m.mask_behaviour == "statistics"
]
PROMISED = {1e4: 1e-4, 1e5: 1e-3, 1e6: 1e-2}
# State that holds differences of means, rounded as they are stored.
OF_MEANS = ("compensation",)
# Both signs: what holds for m must hold for -m.
SHIFTS = [1e4, -1e5, 1e6]
MAPS = [
    m
    for m in METHODS
    if str(m)
    in (
        "BatchNormalization",
        "GroupNormalization-2",
        "InstanceNormalization",
        "LayerNormalization",
        "SwitchableNormalization",
    )
]


def check(method, layer, inputs, shift, mask=None, training=True, **options):
    """One call of the layer against the formulas in float64."""
    weights, state = values(layer)
    given = {} if mask is None else {"mask": mask}
    y = layer(method.given(inputs), training=training, **given)
    case = inputs, weights, state, training, mask
    compare(method, case, outputs(y), values(layer)[1], shift, **options)


def compare(method, case, y, moved, shift, relative=False, factor=1.0):
    """Outputs and state of a call against the formulas in float64."""
    oracle, config = method.reference()
    inputs, weights, state, training, mask = case
    expected, wanted = oracle(inputs, config, weights, state, training, mask)
    several = isinstance(expected, tuple)
    promised = factor * PROMISED[abs(shift)]
    for a, b in zip(y, expected if several else [expected], strict=True):
        seen = np.ones(b.shape, bool)
        if mask is not None:
            seen &= mask.reshape(mask.shape + (1,) * (b.ndim - mask.ndim))
        scale = max(1.0, largest(b[seen]))
        normalized = method.centres and method.scales and a is y[0]
        if normalized and not relative:
            scale = 1.0
        error = np.max(np.abs(a[seen] - b[seen]))
        assert error <= promised * scale, f"{method}: {error} at {shift}"
    for name, value in moved.items():
        scale = max(1.0, largest(wanted[name]))
        error = np.max(np.abs(value - wanted[name]))
        # State is absolute: as exact as a float32 of that size, no better.
        allowed = max(promised, 1e-6 * scale) * scale
        if name in OF_MEANS:
            allowed = max(promised, 1e-6 * largest(inputs[0]))
        assert error <= allowed, f"{method}: {name} {error} at {shift}"


@pytest.mark.parametrize("method", rows(COMPARED))
def test_far_from_zero(method):
    for shift in SHIFTS:
        layer = shifted_layer(method, shift)
        check(method, layer, shifted_inputs(method, shift), shift)
    layer = shifted_layer(method, 1e4)
    inputs = shifted_inputs(method, 1e4)
    check(method, layer, inputs, 1e4, training=False)


def of_other_ranks():
    """Methods at the ranks that no other test here has.

    On PyTorch in every run; the others, which take ten times as long for every
    new shape, have it in the long tier.
    """
    long = keras.backend.backend() != "torch"
    return [
        pytest.param(m, r, id=f"{m}-{r}", marks=pytest.mark.all if long else ())
        for m in representative()
        for r in m.ranks
        if m in COMPARED and r != m.rank
    ]


@pytest.mark.compile
@pytest.mark.parametrize(
    "methods",
    groups([m for m in representative() if m in COMPARED and 4 in m.ranks]),
    ids=lambda group: str(group[0]),
)
def test_far_from_zero_compiled(methods):
    # Compilers fold constants and contract products with sums.
    layers = [shifted_layer(m, 0.0) for m in methods]
    run = compiled(methods, layers)
    for shift in SHIFTS:
        for mask in (None, np.arange(6) != 4):
            given, cases = [], []
            for method in methods:
                layer = shifted_layer(method, shift)
                inputs = shifted_inputs(method, shift)
                given.append(inputs)
                used = mask if method.mask_behaviour == "statistics" else None
                cases.append((inputs, *values(layer), True, used))
            y = run(given, mask)
            for i, method in enumerate(methods):
                moved = values(layers[i])[1]
                compare(method, cases[i], y[i], moved, shift)


@pytest.mark.parametrize("method,rank", of_other_ranks())
def test_far_from_zero_at_every_rank(method, rank):
    layer = shifted_layer(method, 1e4, rank)
    check(method, layer, shifted_inputs(method, 1e4, rank), 1e4)


@pytest.mark.parametrize("method", rows(COMPARED))
def test_outlier_as_the_first_entry(method):
    for shift in (1e4, 1e6):
        inputs = with_outlier(shifted_inputs(method, shift), shift)
        layer = shifted_layer(method, shift)
        check(method, layer, inputs, shift, factor=method.amplifies)


@pytest.mark.parametrize("method", rows(SEQUENCES))
def test_left_padded_sequences(method):
    x, *others = shifted_inputs(method, 1e4, rank=3)
    first = np.array([0, 1, 2, 3, 4, 0])
    mask = np.arange(5) >= first[:, None]
    x = np.where(mask[..., None], x, np.float32(0.0))
    layer = shifted_layer(method, 1e4, rank=3)
    check(method, layer, [x, *others], 1e4, mask)


@pytest.mark.parametrize("method", MAPS, ids=str)
def test_large_maps(method):
    shape = (1, 256, 256, 8)
    inputs = method.inputs(shape=shape, shift=1e4)
    check(method, shifted_layer(method, 1e4), inputs, 1e4)
    # The outlier comes out as 256: the error is that of the sum of squares.
    inputs = with_outlier(inputs, 1e4)
    check(method, shifted_layer(method, 1e4), inputs, 1e4, relative=True)


def test_all_maps_are_rows_of_the_table():
    assert len(MAPS) == 5 <= len(TABLE)


@pytest.mark.parametrize(
    "method", rows([m for m in METHODS if m.layer == "BatchNormalization"])
)
def test_spread_much_smaller_than_the_mean(method):
    # 1000 with a deviation of 0.1: what Keras on PyTorch makes NaN of.
    x = np.random.default_rng(0).normal(1000.0, 0.1, (64, 8))
    layer = shifted_layer(method, 1000.0, rank=2)
    check(method, layer, [x.astype("float32")], 1e4)
