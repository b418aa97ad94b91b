"""Means over the neighbourhood of each position, for one input."""

import math

from keras import ops

from keras_norm.core import moments
from keras_norm.core import window_sums


def root(t):
    """sqrt(t) with gradient 0 at 0."""
    positive = t > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, t, 1.0)), 0.0)


class Field:
    """Means over one window, bound to one input.

    Args:
        x: the input.
        spans: the window, one span per axis that it moves along.
        whole: axes that the window always spans.
        weights: weights of x's rank, or None; 0 counts as outside.
        renormalize: divide by the mass of the window inside the image. False
            divides by that of the whole window: zeros outside.

    Attributes:
        inside: fraction of the window's mass that lies inside the image.
    """

    def __init__(self, x, spans, whole=(), weights=None, renormalize=True):
        self.spans, self.whole = tuple(spans), tuple(whole)
        self.renormalize = renormalize
        moved = [s.axis for s in self.spans]
        self.axes = (*moved, *self.whole)
        if weights is None:
            ones = ops.ones_like(x[tuple(window_sums.only(moved, x))])
        else:
            shape = list(ops.shape(weights))
            for a in moved:
                shape[a] = ops.shape(x)[a]
            ones = weights = ops.broadcast_to(weights, shape)
        self.weights = weights
        # A list: PyTorch's compiler refuses a generator.
        self.full = math.prod([window_sums.mass(s) for s in self.spans])
        self.mass = self._sum(ones)
        self.inside = self.mass / self.full
        if renormalize:
            seen = self.mass > 0
            self.factor = ops.where(
                seen, 1.0 / ops.where(seen, self.mass, 1.0), 0.0
            )
        else:
            self.factor = 1.0 / self.full

    def _sum(self, t):
        if self.whole:
            t = ops.mean(t, axis=self.whole, keepdims=True)
        for span in self.spans:
            t = window_sums.total(t, span)
        return t

    def weighted(self, t):
        """`t` times the weights; 0 where masked, whatever is there."""
        if self.weights is None:
            return t
        return ops.where(self.weights > 0, self.weights * t, 0.0)

    def mean(self, t):
        """Mean of `t` over the window at each place."""
        return self._sum(self.weighted(t)) * self.factor

    def average(self, t):
        """Mean of `t` over all places of each sample (and its channels)."""
        if self.weights is None:
            return ops.mean(t, axis=self.axes, keepdims=True)
        seen = ops.mean(self.weights, axis=self.axes, keepdims=True)
        mean = ops.mean(self.weighted(t), axis=self.axes, keepdims=True)
        return mean / ops.maximum(seen, moments.TINY)

    def overall(self, t):
        """Mean of x-shaped `t` over everything, 0 where there is nothing."""
        entries = ops.sum(self.weighted(ops.ones_like(t)))
        return ops.sum(self.weighted(t)) / ops.maximum(entries, moments.TINY)

    def pivot(self, x):
        """A value near each sample's (or its channels') mean, no gradient."""
        if self.weights is None:
            return moments.pivot_of(x, self.axes, keepdims=True)
        return moments.settled(self.average(x))

    def centred(self, d, pivot):
        """x minus the mean of its window, from d = x - pivot."""
        v = d - self.mean(d)
        if self.renormalize:
            return v
        # What the zeros outside take from the mean of the pivot; exactly 0
        # where the window lies inside.
        return v + pivot * ((self.full - self.mass) / self.full)
