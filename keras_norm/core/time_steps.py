"""Batch statistics of every time step: measured, applied, kept.

Data are (batch, features) at one step or (batch, time, features); a weight
for each sample, and time step, says whether it counts.
"""

from collections import namedtuple

from keras import ops

from keras_norm.core import moments
from keras_norm.core import primitives

# mean, variance: (time, features) or (1, features). count: of samples, (time,
# 1) or (1, 1).
Statistics = namedtuple("Statistics", "mean variance count")


def _table(x, weights):
    """Moments of (batch, columns) over the samples, for each column."""
    if weights is not None:
        weights = ops.expand_dims(weights, 0)
        if len(weights.shape) == 2:
            weights = ops.expand_dims(weights, -1)
    # The samples are the positions of one instance.
    return moments.measure(ops.expand_dims(x, 0), -1, weights)


def _flat(x, weights):
    """(batch, time, features) as (batch, columns), with a weight for each."""
    batch, steps, features = ops.shape(x)
    if weights is not None:
        weights = ops.repeat(weights, features, axis=1)
    return ops.reshape(x, (batch, steps * features)), weights


def normalize(x, gamma, beta, epsilon, weights=None):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over the samples.

    Args:
        x: the data; all time steps, or one.
        gamma: (1, features).
        beta: (1, features).
        epsilon: added to the variance.
        weights: of the samples, x's shape without the features, or None.
    """
    if len(x.shape) == 3:
        shape = ops.shape(x)
        flat, weights = _flat(x, weights)
        gamma, beta = (ops.tile(t, (1, shape[1])) for t in (gamma, beta))
        y = normalize(flat, gamma, beta, epsilon, weights)
        return ops.reshape(y, shape)
    table = _table(x, weights)
    scale = gamma * ops.rsqrt(table.variance + epsilon)
    offset = beta - table.mean * scale
    y = primitives.affine(table.data, table.view(scale), table.view(offset))
    return ops.squeeze(y, 0)


def normalize_by(x, mean, variance, gamma, beta, epsilon):
    """The same by given statistics, which broadcast against x."""
    return (x - mean) * (gamma * ops.rsqrt(variance + epsilon)) + beta


def measure(x, weights=None) -> Statistics:
    """The statistics of (batch, time, features), without gradient."""
    batch, steps, features = ops.shape(x)
    table = _table(*_flat(ops.stop_gradient(x), weights))
    if weights is None:
        count = ops.ones((steps, 1), x.dtype) * ops.cast(batch, x.dtype)
    else:
        count = ops.expand_dims(ops.sum(weights, axis=0), -1)
    mean, variance = (
        ops.reshape(t, (steps, features))
        for t in (table.pivot + table.mean, table.variance)
    )
    return Statistics(mean, variance, count)


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
