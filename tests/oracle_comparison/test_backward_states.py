"""Several steps of layers whose gradient is not the derivative of the output.

The layer and the formula each go their own way from the same start: outputs,
gradients, state, and what the backward pass carries from step to step, which
a Keras optimizer puts where it belongs.
"""

import keras
import numpy as np
import pytest

from contract.method import name_of
from contract.method import numpy
from contract.method import values
from contract.methods import METHODS
from contract.table.compensated_statistics import OUTSIDE
from contract.tolerances import close
from gradients import gradients
from oracle_comparison.formulas import seen_in
from oracle_comparison.formulas import some_mask
from oracle_comparison.own_gradients import compare_gradients
from oracle_comparison.own_gradients import formula_of
from oracle_comparison.own_gradients import own_gradient
from oracles.statistics_shapes import WITNESS
from oracles.statistics_shapes import gradient_state

EXISTING = [*METHODS, *(m for m in OUTSIDE if m.exists)]
OWN = [m for m in EXISTING if own_gradient(m)]
FIRST = list({m.layer: m for m in reversed(OWN)}.values())
MASKED = [m for m in FIRST if m.mask_behaviour == "statistics"]
CARRYING = [m for m in FIRST if gradient_state(m.layer, m.options, 8)]
# Its state is another form of that of the formulas: it starts empty.
CROSS = [m for m in EXISTING if m.layer.startswith("CrossIteration")]
CROSS_MASKED = [m for m in CROSS if m.mask_behaviour == "statistics"]
STEPS = 4


def ranks(methods, usual):
    """(row, rank); every run takes rank 4 of the `usual` rows."""
    return [
        pytest.param(
            m,
            r,
            id=f"{m}-{r}",
            marks=() if r == m.rank and m in usual else pytest.mark.all,
        )
        for m in methods
        for r in m.ranks
        if r <= 4
    ]


def carried(layer):
    """The weights that a backward pass brings up to date."""
    return [
        w
        for w in layer.trainable_weights
        if w.overwrite_with_gradient and w.name != WITNESS
    ]


def optimize(layer, of_weights):
    """What an optimizer does, with a learning rate of zero."""
    tensors = [
        keras.ops.convert_to_tensor(of_weights[name_of(layer, w)], w.dtype)
        for w in layer.trainable_variables
    ]
    optimizer = keras.optimizers.SGD(learning_rate=0.0)
    optimizer.build(layer.trainable_variables)
    optimizer.apply(tensors, layer.trainable_variables)


def visible(array, mask):
    """Which entries of an output count; statistics have no samples."""
    if mask is None or array.shape[: mask.ndim] != mask.shape:
        return np.ones(array.shape, bool)
    return seen_in(array, mask)


class Sequence:
    """Training steps of a layer and of the formula.

    Args:
        layer: built, its carried weights and state as `state` says.
        state: the formula's.
    """

    def __init__(self, method, layer, state, mask=None):
        self.method, self.layer, self.mask = method, layer, mask
        self.state, self.weights = state, values(layer)[0]
        self.carried = {name_of(layer, w) for w in carried(layer)}
        self.rng = np.random.default_rng(11)
        self.count = 0

    def step(self, inputs):
        """One more; `inputs` are several if the call takes a list."""
        forward, gradient = formula_of(self.method)
        call = inputs, self.weights, self.state
        outputs, new = forward(*call, self.mask)
        upstream = [
            np.where(visible(y, self.mask), self.rng.normal(size=y.shape), 0.0)
            for y in outputs
        ]
        wanted = gradient(*call, upstream, self.mask)
        several = len(inputs) > 1
        found = gradients(
            self.layer,
            [list(inputs)] if several else inputs,
            upstream if len(outputs) > 1 else upstream[0],
            mask=self.mask,
        )
        # Errors of earlier steps are still there.
        self.count += 1
        entries = self.count * inputs[0].size
        results = found.outputs
        results = results if isinstance(results, list | tuple) else [results]
        for a, b in zip(results, outputs, strict=True):
            seen = visible(b, self.mask)
            close(a[seen], b[seen], entries)
        of_weights = dict(
            zip(self.weights, found.weights.values(), strict=True)
        )
        of_inputs = found.inputs[0] if several else found.inputs
        compare_gradients((of_inputs, of_weights), wanted, entries)
        if self.count == STEPS:
            for w in carried(self.layer):
                w.assign(0.0 * w)
            optimize(self.layer, of_weights)
        # Constraints may have moved those that are not carried.
        moved, state = values(self.layer)
        for name in self.carried:
            close(moved[name], wanted[1][name], entries)
        self.state = new
        self.weights = {
            name: wanted[1][name] if name in self.carried else value
            for name, value in moved.items()
        }
        for name, value in state.items():
            # Windows are another form of the state of the formulas.
            if not name.startswith("window_"):
                close(value, new[name], entries)


def steps(method, rank=None, mask=None, further=lambda rng: []):
    layer = method.built(rank)
    sequence = Sequence(method, layer, values(layer)[1], mask)
    for i in range(STEPS):
        inputs = method.inputs(rank, seed=30 + i)
        sequence.step([*inputs, *further(np.random.default_rng(i))])


def cross_steps(method, rank=None, mask=None):
    """The kernel moves between the steps."""
    layer = method.make()
    method.build(layer, method.shape(rank))
    rng = np.random.default_rng(3)
    for w in layer.trainable_weights:
        w.assign(numpy(w) + 0.2 * rng.normal(size=w.shape))
    sequence = Sequence(method, layer, {}, mask)
    for i in range(STEPS):
        sequence.step(method.inputs(rank, seed=30 + i))
        for w in layer.trainable_weights:
            w.assign(numpy(w) + 0.05 * rng.normal(size=w.shape))
        sequence.weights = values(layer)[0]


@pytest.mark.parametrize("method, rank", ranks(OWN, FIRST))
def test_every_rank(method, rank):
    steps(method, rank)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, marks=() if m in CARRYING else pytest.mark.all)
        for m in MASKED
    ],
    ids=str,
)
def test_masked(method):
    shape = method.shape()
    steps(method, mask=some_mask(shape, min(3, method.rank - 1)))


@pytest.mark.parametrize("method, rank", ranks(CROSS, CROSS))
def test_cross_iteration(method, rank):
    cross_steps(method, rank)


@pytest.mark.parametrize("method", CROSS_MASKED, ids=str)
def test_cross_iteration_masked(method):
    cross_steps(method, mask=some_mask(method.shape(), 3))


PREDICTED = [m for m in OWN if m.layer == "KalmanNormalization"]


@pytest.mark.parametrize("method", PREDICTED, ids=str)
def test_predicted_moments(method):
    def moments(rng):
        size = method.shape()[-1]
        pair = rng.normal(0.5, 1.0, size), rng.uniform(0.5, 2.0, size)
        return [a.astype("float32") for a in pair]

    steps(method, further=moments)


@pytest.mark.parametrize("method", CARRYING, ids=str)
def test_inference_carries_nothing(method):
    layer = method.shared()
    before = [numpy(w) for w in carried(layer)]
    assert before
    layer(method.given(method.inputs()), training=False)
    for w, value in zip(carried(layer), before, strict=True):
        np.testing.assert_array_equal(numpy(w), value)
