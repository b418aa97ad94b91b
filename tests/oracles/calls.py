"""Calls of the reference implementations for tests of them alone."""

import numpy as np

from . import GRADIENTS
from . import ORACLES


def random(*shape, seed=0, shift=0.5):
    return np.random.default_rng(seed).normal(shift, 1.5, shape)


def run(name, x, config=None, state=None, training=True, mask=None, w=None):
    """Output (the first) and state."""
    inputs = x if isinstance(x, list) else [x]
    y, new = ORACLES[name](
        inputs, config or {}, w or {}, state or {}, training, mask
    )
    return (y[0] if isinstance(y, tuple) else y), new


def gradient(name, x, upstream, config=None, state=None, mask=None, w=None):
    """([gradient of each input], {weight: gradient})."""
    inputs = x if isinstance(x, list) else [x]
    return GRADIENTS[name](
        inputs, config or {}, w or {}, state or {}, upstream, mask
    )


def slope(function, x, direction, step=1e-6):
    """Derivative of a number along a direction, by a central difference."""
    ends = [function(x + sign * step * direction) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step)
