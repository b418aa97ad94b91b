"""Outputs and state against the NumPy float64 formulas.

Every row of the table, training and inference, with and without mask, every
rank that makes sense.
"""

import numpy as np
import pytest

from contract.method import outputs
from contract.method import values
from contract.methods import METHODS
from contract.tolerances import close
from oracle_comparison.formulas import expected
from oracle_comparison.formulas import seen_in
from oracle_comparison.formulas import some_mask

COMPARED = [m for m in METHODS if m.reference()]
MASKED = [m for m in COMPARED if m.mask_behaviour == "statistics"]


def compare(method, inputs, training, mask=None, rank=None):
    """One call of the layer against the formulas."""
    layer = method.shared(rank)
    weights, state = values(layer)
    given = {} if mask is None else {"mask": mask}
    y = outputs(layer(method.given(inputs), training=training, **given))
    wanted, new = expected(method, inputs, weights, state, training, mask)
    entries = inputs[0].size
    for a, b in zip(y, wanted, strict=True):
        assert a.dtype == "float32"
        assert a.shape == b.shape
        if mask is not None:
            seen = seen_in(b, mask)
            a, b = a[seen], b[seen]
        close(a, b, entries)
    _, moved = values(layer)
    for name, value in moved.items():
        close(value, new[name], entries)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", COMPARED, ids=str)
def test_value_and_state(method, training):
    compare(method, method.inputs(), training)


@pytest.mark.parametrize(
    "method,rank",
    [(m, r) for m in COMPARED for r in m.ranks if r != m.rank],
    ids=str,
)
def test_every_rank(method, rank):
    compare(method, method.inputs(rank), True, rank=rank)


@pytest.mark.parametrize("method", MASKED, ids=str)
def test_masked(method):
    x, *others = method.inputs()
    for rank in range(1, method.rank + 1):
        if rank == method.rank and method.whitens:
            continue  # channels that are whitened together share a mask
        mask = some_mask(x.shape, rank)
        # Padding may hold anything.
        held = np.where(seen_in(x, mask), x, np.float32(np.nan))
        compare(method, [held, *others], True, mask)
    compare(method, [held, *others], False, mask.astype("float32"))


@pytest.mark.parametrize("method", [m for m in MASKED if m.counts], ids=str)
def test_weighted(method):
    inputs = method.inputs()
    weights = np.random.default_rng(7).uniform(0, 2, inputs[0].shape[:2])
    weights[1, 1] = 0.0
    compare(method, inputs, True, weights.astype("float32"))
