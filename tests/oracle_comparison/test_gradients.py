"""Gradients against central differences of the formulas in float64.

Along random directions through all inputs and all weights at once, so that
every entry of every gradient takes part.
"""

import itertools

import numpy as np
import pytest

from contract.method import values
from contract.methods import METHODS
from contract.shifted import shifted_inputs
from contract.shifted import shifted_layer
from contract.tolerances import computed
from gradients import gradients
from oracle_comparison.formulas import differentiable
from oracle_comparison.formulas import seen_in
from oracle_comparison.formulas import some_mask
from oracle_comparison.own_gradients import compare_gradients
from oracle_comparison.own_gradients import own_gradient

COMPARED = [m for m in METHODS if m.reference()]
MASKED = [m for m in COMPARED if m.mask_behaviour == "statistics"]
STEP = 1e-5
DIRECTIONS = 3


def check(method, layer, inputs, training, mask=None):
    """The derivatives along a few directions."""
    rng = np.random.default_rng(5)
    weights, state = values(layer)
    function = differentiable(method, inputs, weights, state, training, mask)
    upstream = [rng.normal(size=y.shape) for y in function(inputs, weights)]
    if mask is not None:
        # What a loss that respects the mask sends back.
        upstream = [np.where(seen_in(u, mask), u, 0.0) for u in upstream]
    found = gradients(
        layer,
        [method.given(inputs)],
        upstream if method.outputs > 1 else upstream[0],
        training=training,
        mask=mask,
    )
    moved = values(layer)[1]
    function = differentiable(
        method, inputs, weights, state, training, mask, moved
    )
    of_inputs = found.inputs[0] if method.conditions else found.inputs
    of_weights = dict(zip(weights, found.weights.values(), strict=True))
    formula = own_gradient(method, training)
    if formula:
        wanted = formula(inputs, weights, state, upstream, mask)
        compare_gradients((of_inputs, of_weights), wanted, inputs[0].size)
        return
    for gradient in (*filter(is_array, of_inputs), *of_weights.values()):
        assert np.all(np.isfinite(gradient))
    for _ in range(DIRECTIONS):
        along_inputs = [
            None if g is None else rng.normal(size=g.shape) for g in of_inputs
        ]
        along_weights = {
            n: rng.normal(size=g.shape) for n, g in of_weights.items()
        }

        def total(step, a=along_inputs, b=along_weights):
            moved = function(
                [
                    x if v is None else x + step * v
                    for x, v in zip(inputs, a, strict=True)
                ],
                {n: w + step * b[n] for n, w in weights.items()},
            )
            return sum(
                np.sum(np.where(u == 0, 0.0, u * y))
                for u, y in zip(upstream, moved, strict=True)
            )

        expected = (total(STEP) - total(-STEP)) / (2 * STEP)
        terms, scale = [], 0.0
        for g, v in (
            *zip(of_inputs, along_inputs, strict=True),
            *((of_weights[n], along_weights[n]) for n in of_weights),
        ):
            if g is not None:
                terms.append(np.sum(g * v))
                # As if the errors of all terms added up. An entry of the
                # gradient of a weight is itself a sum of terms of both signs,
                # smaller than they are by the root of their number.
                summed = max(1.0, inputs[0].size / g.size)
                scale += np.sqrt(summed) * np.sum(np.abs(g * v))
        tolerance = computed(inputs[0].size, scale)
        assert abs(sum(terms) - expected) <= tolerance


def is_array(gradient):
    return gradient is not None


def without_ties(x):
    """No two equal entries in a channel: medians have no gradient there."""
    flat = np.array(x).reshape(-1, x.shape[-1])
    for column in flat.T:
        order = np.argsort(column)
        for before, after in itertools.pairwise(order):
            least = np.nextafter(column[before], np.float32(np.inf))
            column[after] = max(column[after], least)
    return flat.reshape(x.shape)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", COMPARED, ids=str)
def test_gradient(method, training):
    check(method, method.shared(), method.inputs(), training)


@pytest.mark.parametrize("method", MASKED, ids=str)
def test_gradient_under_a_mask(method):
    inputs = method.inputs()
    rank = min(3, method.rank - 1)
    mask = some_mask(inputs[0].shape, rank)
    check(method, method.shared(), inputs, True, mask)


@pytest.mark.parametrize("method", COMPARED, ids=str)
def test_gradient_far_from_zero(method):
    x, *others = shifted_inputs(method, 1e4)
    inputs = [without_ties(x), *others]
    check(method, shifted_layer(method, 1e4), inputs, True)
