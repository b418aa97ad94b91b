"""Mean and variance of every window, in one pass.

Variances are merged, not formed as E[d^2] - E[d]^2: two parts with means that
differ by t give variance_a + variance_b + t^2 (Chan et al.). That does not
cancel, wherever in the data the window lies. The gradient is analytic: sums
over the mirrored windows.
"""

import numpy as np
from keras import ops

from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core import window_sums
from keras_norm.core.custom_gradients import custom_gradient


def _merged(a, b):
    """(weight, mean, sum of squares about it) of two parts together."""
    weight = a[0] + b[0]
    dtype = a[1].dtype
    if isinstance(weight, np.ndarray):
        share = b[0] / np.maximum(weight, 1.0)
        shares = (share, a[0] * share)
        share, both = (ops.convert_to_tensor(s, dtype) for s in shares)
    else:
        share = b[0] / ops.maximum(weight, moments.TINY)
        both = a[0] * share
    apart = b[1] - a[1]
    mean = a[1] + apart * share
    return weight, mean, a[2] + b[2] + ops.square(apart) * both


def _merged_axis(parts, axis):
    """The same for all entries along an axis, which become one."""
    weight, mean, squares = parts
    count = ops.sum(weight, axis=axis, keepdims=True)
    share = weight / ops.maximum(count, moments.TINY)
    overall = ops.sum(share * mean, axis=axis, keepdims=True)
    squares = squares + weight * ops.square(mean - overall)
    return count, overall, ops.sum(squares, axis=axis, keepdims=True)


def parts_of(d, axis, w=None):
    """Weight, mean and sum of squares of each position and group.

    d: (..., groups, channels of a group, ...), groups at `axis`; w: weights of
    that rank. Weight and squares are per channel of the group; without w the
    weight is None, for 1.
    """
    inner = axis + 1
    if d.shape[inner] == 1:
        seen = None if w is None else ops.squeeze(w, inner)
        mean = ops.squeeze(d, inner)
        return seen, mean, ops.zeros_like(mean)
    if w is None:
        mean = mean_of_few(d, inner)
        about = ops.square(d - ops.expand_dims(mean, inner))
        return None, mean, mean_of_few(about, inner)
    seen = ops.mean(w, axis=inner)
    mean = mean_of_few(w * d, inner) / ops.maximum(seen, moments.TINY)
    about = ops.square(d - ops.expand_dims(mean, inner))
    return seen, mean, mean_of_few(w * about, inner)


def mean_of_few(t, axis):
    """Mean over an axis that is short: slices add up faster than it reduces."""
    size = t.shape[axis]
    if size > 8:
        return ops.mean(t, axis=axis)
    pieces = [
        ops.squeeze(window_sums.cut(t, axis, i, size - 1 - i), axis)
        for i in range(size)
    ]
    return sum(pieces[1:], pieces[0]) * (1.0 / size)


def merged(parts, spans, rows=None):
    """Weight, mean and variance of the windows, from those of positions.

    Where all weights are 1 each axis starts anew from 1: the entries that are
    merged have seen the same number along the other axes. So the weights are
    vectors, and known beforehand if the sizes are.

    Args:
        parts: see `parts_of`.
        spans: the window.
        rows: for each span the places whose windows are wanted; None: all.
    """
    weight, *moment = parts
    count = 1.0
    for i, span in enumerate(spans):
        unit = weight is None
        along = unit_weight(moment[0], span.axis) if unit else weight
        seen, *moment = _merged_along((along, *moment), span)
        if rows is not None:
            seen = ops.convert_to_tensor(seen, moment[0].dtype)
            seen, *moment = (
                ops.take(t, rows[i], axis=span.axis) for t in (seen, *moment)
            )
        if unit:
            seen = ops.convert_to_tensor(seen, moment[0].dtype)
            moment[1] = moment[1] / seen
            count = count * seen
        else:
            weight = seen
    if weight is None:
        return count, *moment
    return weight, moment[0], moment[1] / ops.maximum(weight, moments.TINY)


def unit_weight(t, axis):
    """Ones along one axis, in NumPy if its length is known."""
    length = t.shape[axis]
    if not isinstance(length, int):
        return ops.ones_like(t[tuple(window_sums.only([axis], t))])
    shape = [1] * len(t.shape)
    shape[axis] = length
    return np.ones(shape)


def _merged_along(parts, span):
    length = parts[1].shape[span.axis]
    if not window_sums.covers(span, length):
        return window_sums.doubled(
            parts, window_sums.clipped(span, length), _merged
        )
    weight, mean, squares = parts
    weight = ops.convert_to_tensor(weight, mean.dtype)
    return _merged_axis((weight, mean, squares), span.axis)


@primitives.cached
def of(spans, axis):
    """(d[, w]) -> mean and variance of every window and group, stacked."""

    @custom_gradient
    def window_moments(d, *w):
        parts = parts_of(d, axis, *w)
        count, mean, variance = merged(parts, spans)
        rate = 1.0 / ops.maximum(count * d.shape[axis + 1], moments.TINY)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # Of the mean: 1 / count. Of the variance: 2 (d - mean) / count.
            slope = 2.0 * upstream[1] * rate
            level = upstream[0] * rate - slope * mean
            for span in spans:
                if slope.shape[span.axis] != 1:
                    slope = window_sums.summed(
                        slope, window_sums.mirrored(span)
                    )
                    level = window_sums.summed(
                        level, window_sums.mirrored(span)
                    )
            slope = ops.expand_dims(slope, axis + 1)
            level = ops.expand_dims(level, axis + 1)
            into = slope * d + level
            if not w:
                return into
            return w[0] * into, ops.zeros_like(w[0])

        return ops.stack([mean, variance]), grad

    return window_moments
