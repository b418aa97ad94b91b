"""The NumPy float64 formulas, called for a row of the table of methods."""

import numpy as np

from oracles.area import renorm_correction
from oracles.common import moments
from oracles.common import prepare
from oracles.common import set_labels
from oracles.common import settings


def expected(method, inputs, weights, state, training, mask=None):
    """(list of outputs, new state)."""
    oracle, config = method.reference()
    y, new = oracle(inputs, config, weights, state, training, mask)
    return list(y) if isinstance(y, tuple) else [y], new


def differentiable(
    method, inputs, weights, state, training, mask=None, moved=None
):
    """(inputs, weights) -> outputs, what has no gradient held constant.

    `moved` is the state as the layer has moved it, rounded to what it stores.
    """

    def plain(inputs, weights):
        return expected(method, inputs, weights, state, training, mask)[0]

    if not training:
        return plain
    if method.source != "batch":
        used = state
        if method.source in ("moved", "stored"):
            _, used = expected(method, inputs, weights, state, True, mask)
        if method.source == "stored" and moved is not None:
            used = moved

        def constant(inputs, weights):
            return expected(method, inputs, weights, used, False, mask)[0]

        return constant
    if "renorm_mean" in method.state:
        return _renorm(method, inputs, state, mask)
    return plain


def _renorm(method, inputs, state, mask):
    """Batch normalization with the correction of this batch, a constant."""
    oracle, config = method.reference()
    config = {k: v for k, v in config.items() if not k.startswith("renorm")}
    clipping = {"renorm_clipping": method.options.get("renorm_clipping")}
    s = settings(config, epsilon=1e-3, momentum=0.99, **clipping)
    x, w, _ = prepare(inputs, -1, mask)
    mean, variance, _ = moments(x, w, *set_labels("batch", x.shape))
    r, d = renorm_correction(mean, variance, state, s)
    kept = {name: state[name] for name in ("moving_mean", "moving_variance")}

    def corrected(inputs, weights):
        (normalized,), _ = _as_list(
            oracle(inputs, config, {}, kept, True, mask)
        )
        y = normalized * r + d
        return [y * weights["gamma"] + weights["beta"]]

    return corrected


def _as_list(result):
    y, state = result
    return [y], state


def seen_in(array, mask):
    """Which entries of an array a mask of its leading axes leaves."""
    mask = np.asarray(mask, dtype="float64") > 0
    mask = mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
    return np.broadcast_to(mask, array.shape)


def some_mask(shape, rank, seed=3):
    """About a third masked, no sample entirely; rank 1: the fourth sample."""
    if rank == 1:
        return np.arange(shape[0]) != 3
    mask = np.random.default_rng(seed).uniform(size=shape[:rank]) > 0.35
    mask[:, 0] = True
    return mask
