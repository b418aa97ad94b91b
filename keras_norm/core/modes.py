"""Moments of modes: soft parts of a batch, which may lie far apart.

A sample belongs to every mode by its gate. All is formed of tables (N, modes,
C) of single samples, never of copies of the data.
"""

from collections import namedtuple

import keras
from keras import ops

from keras_norm.core import moments
from keras_norm.core.distribution import replica_sum
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import put

# near: a value near the mean of each mode, (modes, C). rest: mean - near.
Modes = namedtuple("Modes", "near rest variance")


@keras.saving.register_keras_serializable("keras_norm")
class ModeAverage(MovingAverage):
    """Moving averages of E[x] and E[x^2] of every mode.

    What is kept is the mean and the variance that belong to them, so that
    nothing cancels: with m the fraction kept,

        variance <- m variance + (1 - m) variance_B
                    + m (1 - m) (mean_B - mean)^2
    """

    def follow(self, layer, shift, spread, averages, momentum=None) -> None:
        """Move the modes that have any weight in the batch."""
        keep = self.momentum if momentum is None else momentum
        mean, variance = (
            ops.stop_gradient(t)
            for t in self.stored(layer, shift, spread, averages)
        )
        # Below that the moments are not those of anything.
        seen = averages.merged_weight() > moments.TINY
        old_mean, old_variance = self.before(layer, mean.dtype)
        ahead = mean - old_mean
        new_variance = old_variance + (1.0 - keep) * (
            variance - old_variance + keep * ops.square(ahead)
        )
        new_mean = old_mean + (1.0 - keep) * ahead
        put(layer.moving_mean, ops.where(seen, new_mean, old_mean))
        put(layer.moving_variance, ops.where(seen, new_variance, old_variance))


def measured(averages):
    """The `Modes` of an area with gates, bound to a table.

    Means are measured from a value near them: relative to one base of the
    batch they would be known no better than the modes are apart.
    """
    table = averages.table
    mean = averages.mean(averages.relative_means)
    near = moments.settled(averages.base, mean)
    share = ops.expand_dims(averages.gates, -1)
    if averages.count is not None:
        share = share * ops.expand_dims(averages.count, 1)

    def average(t):
        total = ops.sum(share * t, axis=0)
        if averages.area.synchronized:
            total = replica_sum(total)
        return total / ops.maximum(averages.weight, moments.TINY)

    deviation = apart(table, near) + ops.expand_dims(table.mean, 1)
    rest = average(deviation)
    within = ops.expand_dims(table.variance, 1)
    variance = average(within + ops.square(deviation - rest))
    return Modes(near, rest, variance)


def apart(table, near):
    """pivot - near of every sample and mode, (N or 1, modes, C)."""
    return ops.expand_dims(table.pivot, 1) - near


def factors(table, gates, modes, epsilon):
    """(scale, offset) of sum_k g_k (x - mean_k) / sqrt(variance_k + epsilon).

    Args:
        table: moments of the data.
        gates: (N, modes).
        modes: their `Modes`.
        epsilon: inside the roots.
    """
    # Sums of products, not matmuls: accelerators round the factors of those.
    weighted = ops.expand_dims(gates, -1) * ops.rsqrt(modes.variance + epsilon)
    scale = ops.sum(weighted, axis=1)
    distance = apart(table, modes.near) - modes.rest
    return scale, ops.sum(weighted * distance, axis=1)
