"""Covariances of areas as averages of those of instances, like the table.

    covariance of a part = average over its instances of
        (covariance within the instance
         + product of the deviation of its mean from the part's mean)

Nothing cancels, soft assignments of samples to parts are exact, and a mixture
of several areas takes one product over the data.
"""

from keras import ops

from keras_norm.core import covariances
from keras_norm.core.areas import Area
from keras_norm.core.distribution import replica_sum
from keras_norm.core.moments import TINY

INSTANCE = Area("each", "each")


def of_instances(table, axis, groups):
    """Covariances within the instances.

    Args:
        table: moments of the data.
        axis: channel axis, not negative.
        groups: of channels.

    Returns:
        The data minus the mean of their instance, channels last, and
        (N, groups, d, d), None where an instance is one entry.
    """
    instances = INSTANCE.over(table)
    _, data, weights = covariances.centred(table, instances, axis)
    if not table.axes:
        return data, None
    return data, covariances.measure(data, weights, instances, groups)


def shares(averages):
    """How much each instance counts in each part: (parts, N)."""
    share = averages.gates
    if share is None:
        share = ops.ones((averages.n, 1), averages.dtype)
    if averages.count is not None:
        share = share * averages.count[:, :1]
    return ops.transpose(share)


def average(t, averages):
    """Average over the instances of each part: (parts, N, C) -> (parts, C)."""
    total = ops.sum(t * ops.expand_dims(shares(averages), -1), axis=1)
    if averages.area.synchronized:
        total = replica_sum(total)
    return total / ops.maximum(averages.weight[:, :1], TINY)


def pooled(within, deviation, averages, groups):
    """Covariances of the parts of an area.

    Args:
        within: covariances of the instances, or None.
        deviation: of the mean of each instance from the mean of each part,
            (parts, N, C).
        averages: the area, with a column for each channel, bound to the call.
        groups: of channels.

    Returns:
        (parts, groups, d, d); 0 for a part that saw nothing.
    """
    share = shares(averages)
    deviation = groups.split(deviation)
    weighed = deviation * ops.expand_dims(ops.expand_dims(share, -1), -1)
    total = ops.einsum("kngi,kngj->kgij", weighed, deviation)
    if within is not None:
        size = groups.count * groups.width**2
        inner = ops.matmul(share, ops.reshape(within, (-1, size)))
        total = total + ops.reshape(inner, (-1, *groups.shape))
    if averages.area.synchronized:
        total = replica_sum(total)
    weight = ops.maximum(averages.weight[:, :1], TINY)
    return total / ops.reshape(weight, (-1, 1, 1, 1))
