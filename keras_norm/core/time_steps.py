"""Batch statistics of every time step: measured, applied, kept.

Data are (batch, features) at one step or (batch, time, features); a weight
for each sample, and time step, says whether it counts.
"""

from collections import namedtuple

from keras import ops

from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_sum

# mean, variance: (time, features) or (1, features). count: of samples, (time,
# 1) or (1, 1).
Statistics = namedtuple("Statistics", "mean variance count")


def _moments(x, weights, synchronized=False):
    """(d, pivot, mean, variance, count) over the samples; x = pivot + d.

    The sample axis is kept, with size 1; count is None without weights.
    """
    shared = synchronized and replica_count() > 1
    if shared and weights is None:
        # Replicas may hold different numbers of samples.
        weights = ops.ones_like(x[..., 0])
    if weights is None:
        pivot = moments.pivot_of(x, (0,), keepdims=True)
        d = x - pivot
        raw = ops.expand_dims(primitives.raw_moments(d, (0,)), 1)
        variance = ops.maximum(raw[1] - ops.square(raw[0]), 0.0)
        return d, pivot, raw[0], variance, None
    w = ops.expand_dims(weights, -1)
    x = moments.without_padding(x, w)

    def total(t):
        t = ops.sum(t, axis=0, keepdims=True)
        return replica_sum(t) if shared else t

    count = total(w)

    def mean(t):
        t = total(ops.where(w > 0, w * t, 0.0))
        return t / ops.maximum(count, moments.TINY)

    pivot = moments.settled(mean(x))
    d = x - pivot
    m = mean(d)
    return d, pivot, m, mean(ops.square(d - m)), count


def normalize(x, gamma, beta, epsilon, weights=None, synchronized=False):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over the samples.

    Args:
        x: the data; all time steps, or one.
        gamma: (1, features).
        beta: (1, features).
        epsilon: added to the variance.
        weights: of the samples, x's shape without the features, or None.
        synchronized: over the samples of all replicas.
    """
    d, _, mean, variance, _ = _moments(x, weights, synchronized)
    scale = gamma * ops.rsqrt(variance + epsilon)
    return primitives.affine(d, scale, beta - mean * scale)


def normalize_by(x, mean, variance, gamma, beta, epsilon):
    """The same by given statistics, which broadcast against x."""
    return (x - mean) * (gamma * ops.rsqrt(variance + epsilon)) + beta


def measure(x, weights=None, synchronized=False) -> Statistics:
    """The statistics of (batch, time, features), without gradient."""
    x = ops.stop_gradient(x)
    _, pivot, mean, variance, count = _moments(x, weights, synchronized)
    if count is None:
        count = ops.sum(ops.ones_like(x[..., :1]), axis=0, keepdims=True)
    return Statistics(*(t[0] for t in (pivot + mean, variance, count)))


def rows(steps, limit):
    """Which kept statistics each time step has: the last one beyond."""
    return ops.minimum(ops.arange(steps), limit - 1)


def follow(mean, variance, seen: Statistics, momentum, unbiased=False):
    """Move the kept statistics (limit, features) towards those of a batch.

    As if after every time step: where several have the same row, one after
    the other. Steps without samples leave theirs as they are.
    """
    limit = mean.shape[0]
    row = rows(ops.shape(seen.count)[0], limit)
    some = ops.cast(seen.count > 0, seen.mean.dtype)
    last = ops.expand_dims(ops.cast(ops.equal(row, limit - 1), some.dtype), -1)
    # How often a step's share is moved away from by later ones of its row.
    shared = some * last
    later = ops.flip(ops.cumsum(ops.flip(shared, 0), axis=0), 0) - shared
    share = some * (1.0 - momentum) * ops.power(momentum, later * last)
    spread = seen.variance
    if unbiased:
        spread = moments.bessel(spread, seen.count)
    for variable, value in ((mean, seen.mean), (variance, spread)):
        old = ops.cast(ops.convert_to_tensor(variable), value.dtype)
        change = share * (value - ops.take(old, row, axis=0))
        moved = ops.segment_sum(change, row, num_segments=limit)
        variable.assign(ops.cast(old + moved, variable.dtype))
