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
    """Moments over the samples, of each time step and feature by itself."""
    features = x.shape[-1]
    columns = features
    if len(x.shape) == 3:
        batch, steps, _ = ops.shape(x)
        columns = steps * features
        x = ops.reshape(x, (batch, columns))
        if weights is not None:
            weights = ops.repeat(weights, features, axis=1)
    if weights is not None:
        weights = ops.expand_dims(weights, 0)
        if len(weights.shape) == 2:
            weights = ops.expand_dims(weights, -1)
    # The samples are the positions of one instance.
    return moments.measure(ops.expand_dims(x, 0), -1, weights), columns


def normalize(x, gamma, beta, epsilon, weights=None):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over the samples."""
    table, columns = _table(x, weights)
    repeats = 1 if len(x.shape) == 2 else ops.shape(x)[1]
    gamma, beta = (
        ops.reshape(
            ops.broadcast_to(ops.expand_dims(t, 0), (repeats, x.shape[-1])),
            (1, columns),
        )
        for t in (gamma, beta)
    )
    scale = gamma * ops.rsqrt(table.variance + epsilon)
    offset = beta - table.mean * scale
    y = primitives.affine(table.data, table.view(scale), table.view(offset))
    return ops.reshape(y, ops.shape(x))


def normalize_by(x, mean, variance, gamma, beta, epsilon):
    """The same by given statistics, which broadcast against x."""
    return (x - mean) * (gamma * ops.rsqrt(variance + epsilon)) + beta


def measure(x, weights=None) -> Statistics:
    """The statistics of (batch, time, features), without gradient."""
    x = ops.stop_gradient(x)
    batch, steps, features = ops.shape(x)
    table, _ = _table(x, weights)

    def by_step(t):
        return ops.reshape(t, (steps, features))

    if weights is None:
        count = ops.ones((steps, 1), x.dtype) * ops.cast(batch, x.dtype)
    else:
        count = ops.expand_dims(ops.sum(weights, axis=0), -1)
    mean = by_step(table.pivot + table.mean)
    return Statistics(mean, by_step(table.variance), count)


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
