"""Two regions of each map, each with statistics of its own.

A table has a column for every region and channel: those inside, then those
outside. Averages over it are those of any other table, replicas included.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core import resizing
from keras_norm.core import window_sums
from keras_norm.core.areas import Area
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.recoveries import Affine
from keras_norm.core.statistics import Selected

AREAS = {"batch": "all", "instance": "each"}


def area_of(name, synchronized=False):
    """The area that each region is cut from."""
    if name not in AREAS:
        raise errors.unknown_name("area", name, list(AREAS))
    # Samples of different replicas have nothing to add up.
    together = synchronized and name == "batch"
    return Area(AREAS[name], "each", synchronized=together)


def inside(region, x, axis):
    """Which positions of x lie inside: of x's rank, one channel.

    Args:
        region: (N, *sizes), or with one channel at `axis`; more than 1/2 is
            inside. The nearest entry counts, of index floor(i * size / new).
        x: the data.
        axis: their channel axis.
    """
    region = ops.cast(ops.convert_to_tensor(region), x.dtype)
    if len(region.shape) == len(x.shape) - 1:
        region = ops.expand_dims(region, axis % len(x.shape))
    return resizing.resized(region, x, axis) > 0.5


def measure(x, axis, within, mask=None):
    """The table of both regions, by two passes over the data.

    The first finds a pivot in each region: they may be far apart.

    Args:
        x: the data.
        axis: their channel axis.
        within: from `inside`.
        mask: weights of the leading axes, or None.
    """
    rank = len(x.shape)
    axis = axis % rank
    axes = tuple(i for i in range(1, rank) if i != axis)
    view = moments.viewer(rank, axis)
    one_channel = window_sums.only([0, *axes], x)
    w, known = ops.ones_like(x[tuple(one_channel)]), x
    if mask is not None:
        w = ops.broadcast_to(moments.aligned(mask, x), ops.shape(x))
        x = moments.without_padding(x, w)
        known = ops.where(w > 0, x, 0.0)
    shape = (ops.shape(x)[0], 2, x.shape[axis])

    def both(t):
        """Sums over each region, (N, 2 C)."""
        inner = ops.sum(ops.where(within, t, 0.0), axis=axes)
        outside = ops.sum(ops.where(within, 0.0, t), axis=axes)
        sums = ops.broadcast_to(ops.stack([inner, outside], axis=1), shape)
        return ops.reshape(sums, (shape[0], 2 * shape[2]))

    first = moments.pivot_of(known, axes)
    first = ops.concatenate([first, first], axis=-1)
    count = both(w)
    total = ops.maximum(count, moments.TINY)
    rough = both(w * (known - chosen(within, view, first))) / total
    pivot = moments.settled(first, rough)
    d = x - chosen(within, view, pivot)
    seen = d if mask is None else ops.where(w > 0, d, 0.0)
    mean = both(w * seen) / total
    square = both(w * ops.square(seen)) / total
    variance = ops.maximum(square - ops.square(mean), 0.0)
    return moments.Table(
        d, pivot, count, mean, variance, view, axes, None, None, True
    )


def chosen(within, view, table):
    """(., 2 C) -> that of the region of each position."""
    channels = table.shape[-1] // 2
    inner, outside = table[:, :channels], table[:, channels:]
    return ops.where(within, view(inner), view(outside))


def factors(table, area, epsilon):
    """(scale, offset) that standardize each region, (1 or N, 2 C).

    epsilon counts once for all entries: a region that is a part s of them has
    epsilon / s, as if its deviations from the mean were spread over them all.
    """
    averages = area.over(table)
    mean, variance = mean_and_variance(table, averages)
    weight = averages.weight
    channels = weight.shape[-1] // 2
    whole = weight[:, :channels] + weight[:, channels:]
    whole = ops.concatenate([whole, whole], axis=-1)
    seen = weight > 0
    share = ops.where(seen, whole / ops.where(seen, weight, 1.0), 1.0)
    rate = ops.rsqrt(variance + epsilon * share)
    return elementwise.factors(table, averages, Selected(mean, variance), rate)


def normalized(x, axis, within, area, epsilon, mask=None, recover=None):
    """X, each region standardized.

    Args:
        x: the data.
        axis: their channel axis.
        within: from `inside`.
        area: what regions are cut from.
        epsilon: see `factors`.
        mask: weights of the leading axes, or None.
        recover: (scale, offset) -> (scale, offset), both (1 or N, 2 C).
    """
    table = measure(x, axis, within, mask)
    scale, offset = factors(table, area, epsilon)
    if recover:
        scale, offset = recover(scale, offset)
    scale, offset = (chosen(within, table.view, t) for t in (scale, offset))
    return table.data * scale + offset


@keras.saving.register_keras_serializable("keras_norm")
class RegionAffine(Affine):
    """y = (1 + gamma) x + beta per region and channel: (2, C), inside first.

    Args:
        masked_beta: each region gets its own beta; False: both betas are added
            everywhere.
    """

    condition = "a region, (N, h, w) or with one channel, of any size"

    def __init__(self, masked_beta=False):
        self.masked_beta = masked_beta

    def build(self, layer, channels, condition_shape=None) -> None:
        """Create gamma and beta of shape (2, channels)."""
        layer.add_affine((2, channels))

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by 1 + gamma, add beta, on (., 2 C)."""
        if layer.gamma is not None:
            gamma = ops.cast(layer.gamma, scale.dtype)
            gamma = 1.0 + ops.reshape(gamma, (1, -1))
            scale, offset = scale * gamma, offset * gamma
        if layer.beta is not None:
            beta = ops.cast(layer.beta, scale.dtype)
            if not self.masked_beta:
                beta = ops.sum(beta, axis=0)
                beta = ops.concatenate([beta, beta])
            offset = offset + ops.reshape(beta, (1, -1))
        return scale, offset
