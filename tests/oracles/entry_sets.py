"""Statistics of sets, given back to every entry, and gradients through them.

All arrays are (N, P, C); a statistic stands at every entry of its set, so
that sets of any kind mix without a thought for their shapes.
"""

import numpy as np

from .common import bessel
from .common import moments
from .common import moving_average
from .common import over_sets
from .common import set_labels

MOMENTS = ("moving_mean", "moving_variance")


def area_moments(x, w, area, unbiased=False, groups=None):
    """Mean and variance of the set of every entry."""
    labels, count = set_labels(area, x.shape, groups)
    mean, variance, total = moments(x, w, labels, count)
    if unbiased:
        variance = variance * bessel(total)
    return mean[labels], variance[labels]


def batch_or_state(x, w, state, training, s):
    """Moments of the batch (C,), or the stored ones; and the new state.

    `s.unbiased_moving_variance` stores the variance times m / (m - 1).
    """
    if not training:
        return state["moving_mean"], state["moving_variance"], dict(state)
    mean, variance, total = moments(x, w, *set_labels("batch", x.shape))
    stored = variance
    if getattr(s, "unbiased_moving_variance", False):
        stored = variance * bessel(total)
    new = dict(state)
    for name, value in zip(MOMENTS, (mean, stored), strict=True):
        new[name] = moving_average(state[name], value, total, s.momentum)
    return mean, variance, new


def standardize(x, mean, variance, s):
    """(x - mean) / sqrt(var + eps)."""
    return (x - mean) / np.sqrt(variance + s.epsilon)


# Gradients -------------------------------------------------------------------


def through_standardize(dz, x, mean, variance, s):
    """z = (x - mean) / sqrt(var + eps): (dx, dmean, dvar) of every entry."""
    rate = 1 / np.sqrt(variance + s.epsilon)
    return dz * rate, -dz * rate, -0.5 * dz * (x - mean) * rate**3


def through_sets(x, w, labels, count, dmean, dvariance):
    """dx from the gradients of the mean and variance that entries were given.

    d mean / dx_i = w_i / sum(w), d var / dx_i = 2 (x_i - mean) w_i / sum(w).
    """
    mean, _, total = moments(x, w, labels, count)
    total = np.where(total > 0, total, 1.0)
    ones = np.ones(x.shape)

    def summed(values):
        plain = over_sets(lambda v, _: np.sum(v), values, ones, labels, count)
        return plain[labels]

    inner = summed(dmean) + 2 * (x - mean[labels]) * summed(dvariance)
    return w / total[labels] * inner


def through_area(x, w, area, dmean, dvariance, groups=None):
    """`through_sets` of an area."""
    labels, count = set_labels(area, x.shape, groups)
    return through_sets(x, w, labels, count, dmean, dvariance)
