"""Soft layouts: positions shared out among entities, each standardized.

Data are (N, positions, C) here, layouts (N, positions, entities). All sums over
positions are matrix products; nothing has entries for position, channel and
entity at once.
"""

from keras import ops

from keras_norm.core.window_means import root


def _between(a, b):
    """Sums over the positions: (N, entities, C)."""
    return ops.matmul(ops.swapaxes(a, 1, 2), b)


def _sums(t):
    """Sums over the positions, (N, entities, 1)."""
    return ops.expand_dims(ops.sum(t, axis=1), -1)


def standardized(d, pivot, layout, epsilon, of_positions=False):
    """Sum over the entities of l (v - mean) / (deviation + epsilon).

    mean = sum(l v) / S and deviation^2 = sum((l v - mean)^2) / S, where
    S = sum(l) + epsilon, all sums over the positions.

    Args:
        d: v - pivot, (N, positions, C).
        pivot: (N, 1, C), a value near v.
        layout: l, (N, positions, entities), which add up to 1.
        epsilon: see above.
        of_positions: divide the mean by the number of positions as well.
    """
    whole = _sums(layout)
    count = whole + epsilon
    positions = ops.cast(ops.shape(d)[1], d.dtype)
    share = whole / positions
    first = _between(layout, d)
    # l v - mean = l d + (l - share) pivot + level: where an entity has every
    # position, the pivot drops out.
    if of_positions:
        part = first / (count * positions)
        mean = pivot * (share / count - 1.0) + part
        level = pivot * (share * (1.0 - 1.0 / count)) - part
    else:
        part = first / count
        mean = part - pivot * (epsilon / count)
        level = pivot * (share * (count - positions) / count) - part
    apart = layout - ops.swapaxes(share, 1, 2)
    square = _between(ops.square(layout), ops.square(d))
    square = square + level * (positions * level + 2.0 * first)
    mixed = 2.0 * _between(apart * layout, d)
    square = square + pivot * (mixed + pivot * _sums(ops.square(apart)))
    deviation = root(ops.maximum(square / count, 0.0))
    rate = 1.0 / (deviation + epsilon)
    # `mean` is relative to the pivot.
    return d * ops.matmul(layout, rate) - ops.matmul(layout, rate * mean)
