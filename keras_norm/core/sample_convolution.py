"""Convolutions with a filter of its own for each sample.

Data are channels-last here. A filter is a sum over the places of its window:
each takes a slice of the padded data, multiplied by the matrices of that place.
There is never more than the slice of one place at a time.
"""

import itertools
import math

import numpy as np
from keras import ops

from keras_norm.core import window_sums


def spans_of(sizes):
    """The window of each spatial axis of channels-last data."""
    return tuple(window_sums.neighbours(i + 1, k) for i, k in enumerate(sizes))


def shifted(t, spans):
    """What each place of the window sees, zeros outside.

    From the first place to the last, in the order of the axes.
    """
    for span in spans:
        t = window_sums.padded(t, span)
    for place in itertools.product(*(range(_size(s)) for s in spans)):
        piece = t
        for span, i in zip(spans, place, strict=True):
            last = _size(span) - 1
            piece = window_sums.cut(piece, span.axis, i, last - i)
        yield piece


def _size(span):
    return span.before + span.after + 1


def identity(sizes, width, channels):
    """Filters that return the data: (places, width, channels).

    Args:
        sizes: of the window, one for each spatial axis.
        width: input channels that an output channel sees.
        channels: number of output channels.
    """
    middle = 0
    for size in sizes:
        middle = middle * size + (size - 1) // 2
    filters = np.zeros((math.prod(sizes), width, channels), "float32")
    own = np.arange(channels)
    filters[middle, own % width, own] = 1.0
    return filters


def total(slices, filters):
    """Sum over the places of slices times matrices.

    Args:
        slices: (N, *spatial, C) for each place.
        filters: (N, places, width, C). Output channels are cut into groups;
            each sees the `width` consecutive channels of its group.
    """
    return sum(
        multiplied(piece, filters[:, place])
        for place, piece in enumerate(slices)
    )


def multiplied(t, matrices):
    """(N, *spatial, C) times (N, width, C), group by group."""
    width, channels = matrices.shape[1:]
    shape = ops.shape(t)
    if width == 1:
        alone = [1] * (len(shape) - 2)
        return t * ops.reshape(matrices, (shape[0], *alone, channels))
    count = math.prod(shape[1:-1])
    groups = channels // width
    if groups == 1:
        flat = ops.reshape(t, (shape[0], count, channels))
        return ops.reshape(ops.matmul(flat, matrices), shape)
    flat = ops.reshape(t, (shape[0], count, groups, width))
    cut = ops.reshape(matrices, (shape[0], width, groups, width))
    return ops.reshape(ops.einsum("npgi,nigo->npgo", flat, cut), shape)
