"""The elementwise path: moments, factors, one scale-and-shift.

The big tensor is read twice, once for the moments and once to be scaled and
shifted; all else happens on (N, C) tables and smaller.
"""

from collections import namedtuple

from keras import ops

from keras_norm.core import moments
from keras_norm.core import primitives

# What a recovery that generates from the input itself gets for a condition.
Seen = namedtuple("Seen", "table training")


def normalize(layer, x, training, mask, condition):
    """Normalize x over `layer.area` and recover by `layer.recovery`."""
    if layer.recovery.sees_table:
        return _normalize_seen(layer, x, training, mask)

    def recover(scale, offset):
        return layer.recovery.fold(layer, scale, offset, condition)

    grouped = layer.area.rows == "each" and layer.area.columns != "each"
    if len(x.shape) == 2 and grouped and layer.lifts:
        return _normalize_vectors(layer, x, training, mask, recover)
    return normalize_over(layer, x, layer.axis, training, mask, recover)


def normalize_over(layer, x, axis, training, mask, recover=None):
    """Normalize x with channels at `axis` by the layer's statistics.

    `recover` turns (scale, offset) on the table into (scale, offset).
    """
    view = moments.viewer(len(x.shape), axis)
    # Counted from the end, where lifting changes nothing.
    axis = axis % len(x.shape) - len(x.shape)
    if layer.measures(training):
        area = layer.area
        lifted = len(x.shape) == 2 and area.rows == "all" and layer.lifts
        measured = x
        if lifted:
            # A table of (N, C) data would be as large as they: the samples
            # become the positions of one instance.
            measured = ops.expand_dims(x, 0)
            mask = None if mask is None else ops.expand_dims(mask, 0)
        table = moments.measure(measured, axis, mask, layer.operation.centred)
        if lifted and area.synchronized and table.count is None:
            # Replicas may hold different numbers of samples.
            n = ops.cast(ops.shape(x)[0], x.dtype)
            table = table._replace(count=ops.reshape(n, (1, 1)))
        scale, offset = layer.factors(table, training)
        data = ops.squeeze(table.data, 0) if lifted else table.data
    else:
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        data, scale, offset = layer.inference_factors(x, view)
    if recover:
        scale, offset = recover(scale, offset)
    return apply(data, view, scale, offset)


def _normalize_seen(layer, x, training, mask):
    """Recover by the moments that normalize; inference measures them too."""
    table = moments.measure(x, layer.axis, mask)
    if layer.measures(training):
        scale, offset = layer.factors(table, training)
    else:
        # The data are x - pivot: pivot - mean is left to be added.
        on_table = moments.viewer(2, 1)
        moved, scale, _ = layer.inference_factors(table.pivot, on_table)
        offset = moved * scale
    seen = Seen(table, training)
    scale, offset = layer.recovery.fold(layer, scale, offset, seen)
    return apply(table.data, table.view, scale, offset)


def _normalize_vectors(layer, x, training, mask, recover):
    """Groups of features (N, C): the group's channels are its positions."""
    channels = x.shape[1]
    groups = layer.area.groups(channels)

    def split(t):
        return ops.reshape(t, (-1, groups, channels // groups))

    if mask is not None:
        mask = ops.broadcast_to(moments.aligned(mask, x), ops.shape(x))
        mask = split(mask)
    table = moments.measure(split(x), 1, mask, layer.operation.centred)
    scale, offset = layer.factors(table, training, layer.area.of_instances())
    one = ops.ones((1, channels), x.dtype)
    outer = [split(t) for t in recover(one, 0.0 * one)]
    inner = [ops.expand_dims(t, -1) for t in (scale, offset)]
    y = primitives.affine_twice(table.data, *inner, *outer)
    return ops.reshape(y, (-1, channels))


def apply(data, view, scale, offset):
    """`data * scale + offset` with factors on the table."""
    if scale.shape[0] != offset.shape[0] or scale.shape[1] != offset.shape[1]:
        both = ops.zeros_like(scale) + ops.zeros_like(offset)
        scale, offset = scale + both, offset + both
    return primitives.affine(data, view(scale), view(offset))


def blended(alpha, y, x, mask):
    """alpha y + (1 - alpha) x; what pads x stays out of it."""
    if alpha == 1.0:
        return y
    if mask is not None:
        x = moments.without_padding(x, moments.aligned(mask, x))
    return alpha * y + (1.0 - alpha) * x


def factors(table, averages, selected, rate):
    """(scale, offset) on the table from the statistics selected for it.

    Args:
        table: the moments.
        averages: the area over them.
        selected: compact statistics; see `statistics.Selected`.
        rate: compact factor, None for 1.
    """
    rate = ops.ones_like(selected.shift) if rate is None else rate
    scale = averages.spread(rate)
    if selected.shift is None:
        # Nothing is subtracted: the pivot comes back.
        offset = table.pivot * scale
    else:
        # The data are x - pivot. What remains to be subtracted from them is
        # (base + shift) - pivot, a sum of two small numbers.
        offset = averages.relative_pivot * scale
        offset = offset - averages.spread(selected.shift * rate)
        if averages.single:
            # A part of one entry is its own mean: exactly 0, whatever the
            # rounding of the two terms.
            scale, offset = 0.0 * scale, 0.0 * offset
    if selected.correction is not None:
        r, d = (averages.spread(c) for c in selected.correction)
        scale, offset = scale * r, offset * r + d
    return scale, offset
