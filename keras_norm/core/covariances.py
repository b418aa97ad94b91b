"""Covariances of the parts of an area, per group of channels.

Means come from the moment table; what is formed besides are products of data
that are near zero already, so that nothing large cancels.
"""

from keras import ops

from keras_norm import errors
from keras_norm.core import channel_groups
from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.distribution import replica_sum


def centred(table, averages, axis):
    """(mean of the parts, data minus it, weights), data channels-last.

    Args:
        table: moments of the data.
        averages: the area bound to it.
        axis: channel axis, not negative.

    Returns:
        The mean, compact and relative to the base; the data; weights of their
        rank with one channel, or None.
    """
    mean = averages.mean(averages.relative_means)
    shift = averages.spread(mean) - averages.relative_pivot
    data = ops.moveaxis(table.data - table.view(shift), axis, -1)
    return mean, data, _weights_of(table, axis)


def of_batch(table, averages, axis, groups, unbiased=False):
    """The covariance of a whole batch, in one product over the data.

    The data stay relative to the pivot of the table, the same for all: what
    the mean takes from the products is the small square of a difference.

    Args:
        table: moments of the data about a common pivot.
        averages: the area, one part, bound to it.
        axis: channel axis, not negative.
        groups: of channels.
        unbiased: divide by m - 1 instead of m.

    Returns:
        The data minus the base of the averages, channels last; their mean,
        (1, C); the covariance (groups, d, d).
    """
    mean = averages.mean(averages.relative_means)
    data = ops.moveaxis(table.data, axis, -1)
    if averages.area.synchronized:
        # The base is that of all replicas, the pivot of this one.
        data = data + moments.viewer(len(data.shape), -1)(
            averages.relative_pivot
        )
    weights = _weights_of(table, axis)
    square = groups.split(mean)[0]
    square = ops.expand_dims(square, -1) * ops.expand_dims(square, -2)
    about_base = measure(data, weights, averages, groups)
    covariance = about_base - square
    if unbiased:
        covariance = moments.bessel(covariance, averages.entries[0, 0])
    return data, mean, covariance


def _weights_of(table, axis):
    """Weights of the data's rank with one channel, or None."""
    if table.mask is None:
        return None
    if table.mask.shape[axis] != 1:
        raise errors.received(
            "`mask` must not differ between the channels whose covariance is "
            "measured.",
            mask_shape=tuple(table.mask.shape),
        )
    return ops.moveaxis(table.mask, axis, -1)


def measure(data, weights, averages, groups, unbiased=False):
    """Covariances of the parts of an area.

    Args:
        data: minus the mean of their part, channels last.
        weights: of the data's rank with one channel, or None.
        averages: the area bound to the call.
        groups: of channels.
        unbiased: divide by m - 1 instead of m.

    Returns:
        (groups, d, d) if the area is one part, else (parts, groups, d, d); 0
        for a part that saw nothing.
    """
    if weights is not None:
        # Weights are constants; the root of each goes to either factor.
        root = ops.sqrt(ops.stop_gradient(weights))
        data = ops.where(weights > 0, data * root, 0.0)
    whole = averages.area.rows == "all"
    if whole:
        total = channel_groups.gram(data, groups)
    else:
        total = channel_groups.products_of_samples(data, data, groups)
    if averages.area.rows == "gates":
        size = groups.count * groups.width**2
        flat = ops.reshape(total, (-1, size))
        flat = ops.matmul(ops.transpose(averages.gates), flat)
        total = ops.reshape(flat, (-1, *groups.shape))
    if averages.area.synchronized:
        total = replica_sum(total)
    entries = averages.entries
    if unbiased:
        entries = primitives.at_least_one(entries - 1.0)
    entries = ops.maximum(entries, moments.TINY)
    if whole:
        return total / entries[0, 0]
    return total / ops.reshape(entries[:, :1], (-1, 1, 1, 1))
