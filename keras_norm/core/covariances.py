"""Covariances over groups of channels, and matrices applied to them.

Data are channels-last here, (..., C). Everything that touches them is a matrix
product, for which each backend has one best form; they are chosen here.
"""

from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.distribution import replica_sum


class ChannelGroups:
    """Consecutive groups of channels, the last one filled up if need be.

    Args:
        channels: number of channels.
        size: channels of a group.
    """

    def __init__(self, channels, size):
        self.channels = channels
        self.width = min(size, channels)
        self.count = -(-channels // self.width)
        self.missing = self.count * self.width - channels

    @property
    def shape(self):
        """Of one matrix per group."""
        return self.count, self.width, self.width

    def split(self, t):
        """(..., C) -> (..., groups, width), zeros in what is filled up."""
        lead = ops.shape(t)[:-1]
        if self.missing:
            width = [[0, 0]] * len(lead) + [[0, self.missing]]
            t = ops.pad(t, width, mode="constant", constant_values=0.0)
        return ops.reshape(t, (*lead, self.count, self.width))

    def join(self, t):
        """(..., groups, width) -> (..., C)."""
        t = ops.reshape(t, (*ops.shape(t)[:-2], -1))
        return t[..., : self.channels] if self.missing else t

    def real(self, dtype):
        """(groups, width, width): 1 between channels that exist, else 0."""
        index = ops.arange(self.count * self.width, dtype="int32")
        real = ops.cast(index < self.channels, dtype)
        real = ops.reshape(real, (self.count, self.width))
        return ops.expand_dims(real, -1) * ops.expand_dims(real, -2)


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
    weights = table.mask
    if weights is not None:
        if weights.shape[axis] != 1:
            raise errors.received(
                "`mask` must not differ between the channels whose covariance "
                "is measured.",
                mask_shape=tuple(weights.shape),
            )
        weights = ops.moveaxis(weights, axis, -1)
    return mean, data, weights


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
    left = data
    if weights is not None:
        left = ops.where(weights > 0, data * weights, 0.0)
        data = ops.where(weights > 0, data, 0.0)
    whole = averages.area.rows == "all"
    if whole:
        total = products(left, data, groups)
    else:
        total = products_of_samples(left, data, groups)
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


def products(left, right, groups):
    """Sums over all leading axes of left_i right_j: (groups, d, d)."""
    left, right = (_rows(groups.split(t)) for t in (left, right))
    if groups.count == 1:
        return ops.matmul(ops.transpose(left[:, 0]), right[:, 0])[None]
    return ops.einsum("mgi,mgj->gij", left, right)


def products_of_samples(left, right, groups):
    """The same for each sample, summed over positions: (N, groups, d, d)."""
    left, right = (_samples(groups.split(t)) for t in (left, right))
    return ops.einsum("npgi,npgj->ngij", left, right)


def apply(t, blocks, groups):
    """Every group of channels times its matrix, (..., C) -> (..., C').

    Args:
        t: data (..., C).
        blocks: (groups, d, e), or (N, groups, d, e) for each sample its own;
            the output index is last.
        groups: how the channels of `t` are cut.
    """
    shape = ops.shape(t)
    e = blocks.shape[-1]
    if len(blocks.shape) == 4:
        y = ops.einsum("npgi,ngij->npgj", _samples(groups.split(t)), blocks)
    elif groups.count == 1:
        y = ops.matmul(ops.reshape(t, (-1, groups.channels)), blocks[0])
    else:
        y = ops.einsum("mgi,gij->mgj", _rows(groups.split(t)), blocks)
    y = ops.reshape(y, (*shape[:-1], groups.count * e))
    missing = groups.missing if e == groups.width else 0
    return y[..., : groups.channels] if missing else y


def _rows(t):
    """(..., groups, d) -> (M, groups, d)."""
    return ops.reshape(t, (-1, *t.shape[-2:]))


def _samples(t):
    """(N, ..., groups, d) -> (N, positions, groups, d)."""
    n = ops.shape(t)[0]
    positions = 1
    for size in ops.shape(t)[1:-2]:
        positions = positions * size
    return ops.reshape(t, (n, positions, *t.shape[-2:]))
