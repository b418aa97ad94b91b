"""A standardization whose statistics depend on the batch in some way."""

import numpy as np

from .batch_gradient import batch_moments
from .batch_gradient import clean
from .batch_gradient import through_affine
from .batch_gradient import through_moments
from .batch_gradient import through_standardize
from .common import affine
from .common import from_npc
from .common import prepare
from .common import settings
from .common import to_npc
from .shapes import start

AFFINE = {"center": True, "scale": True}


class Standardization:
    """y = gamma ((x - mean) / sqrt(var + eps) r + d) + beta.

    Args:
        name: of the layer.
        used: (state, batch mean, batch variance, seen, s) -> namespace with
            the `mean` and `variance` that normalize, the `new` state,
            `pull(dmean, dvar)`: gradients of the batch's mean and variance,
            and the constants `r` and `d`. `seen`: total weight by channel.
        stored: (state, s) -> the mean and the variance + eps of inference.
        defaults: the layer's arguments.
    """

    def __init__(self, name, used, stored, **defaults):
        self.name, self.used, self.stored = name, used, stored
        self.defaults = {"axis": -1, "epsilon": 1e-5, **AFFINE, **defaults}

    def _prepared(self, inputs, config, state, mask):
        s = settings(config, **self.defaults)
        x, w, shape = prepare(inputs, s.axis, mask)
        return s, x, w, shape, start(self.name, config, shape, state)

    def _training(self, x, w, state, s):
        """What normalizes; a channel without an entry keeps its state."""
        mean, variance, total = batch_moments(x, w)
        found = self.used(state, mean, variance, total, s)
        found.batch_mean = mean
        found.r, found.d = getattr(found, "r", 1.0), getattr(found, "d", 0.0)
        root = np.sqrt(found.variance + s.epsilon)
        found.normalized = (x - found.mean) / root * found.r + found.d
        if not np.sum(total):
            found.new = state
        return found

    def __call__(self, inputs, config, weights, state, training, mask=None):
        s, x, w, shape, state = self._prepared(inputs, config, state, mask)
        if training:
            found = self._training(x, w, state, s)
            normalized, new = found.normalized, found.new
        else:
            mean, square = self.stored(state, s)
            normalized, new = (x - mean) / np.sqrt(square), state
        return from_npc(affine(normalized, weights, s), s.axis, shape), new

    def gradient(self, inputs, config, weights, state, upstream, mask=None):
        """Of sum(y upstream) in training: ([dx], {weight: gradient})."""
        s, x, w, shape, state = self._prepared(inputs, config, state, mask)
        x, dy = clean(x, w), to_npc(upstream, s.axis)
        found = self._training(x, w, state, s)
        dz, gradients = through_affine(dy, found.normalized, weights, s)
        dx, *statistics = through_standardize(
            dz * found.r, x, found.mean, found.variance, s.epsilon
        )
        pulled = found.pull(*statistics)
        dx = dx + through_moments(x, w, found.batch_mean, *pulled)
        return [from_npc(dx, s.axis, shape)], gradients


def from_variance(mean, variance):
    """Inference by stored moments of these names."""
    return lambda state, s: (state[mean], state[variance] + s.epsilon)
