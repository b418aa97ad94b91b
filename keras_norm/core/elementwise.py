"""The elementwise path: moments, factors, one scale-and-shift.

The big tensor is read twice, once for the moments and once to be scaled and
shifted; all else happens on (N, C) tables and smaller.
"""

from keras import ops

from keras_norm.core import moments


def normalize(layer, x, training, mask, condition):
    """X normalized over `layer.area`, recovered by `layer.recovery`."""

    def recover(scale, offset):
        return layer.recovery.fold(layer, scale, offset, condition)

    return normalize_over(layer, x, layer.axis, training, mask, recover)


def normalize_over(layer, x, axis, training, mask, recover=None):
    """X with channels at `axis` normalized by the layer's statistics.

    `recover` turns (scale, offset) on the table into (scale, offset).
    """
    if layer.measures(training):
        table = moments.measure(x, axis, mask, layer.operation.centred)
        scale, offset = layer.factors(table, training)
        data, view = table.data, table.view
    else:
        view = moments.viewer(len(x.shape), axis)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        data, scale, offset = layer.inference_factors(x, view)
    if recover:
        scale, offset = recover(scale, offset)
    return apply(data, view, scale, offset)


def apply(data, view, scale, offset):
    """`data * scale + offset` with factors on the table."""
    if scale.shape[0] != offset.shape[0] or scale.shape[1] != offset.shape[1]:
        both = ops.zeros_like(scale) + ops.zeros_like(offset)
        scale, offset = scale + both, offset + both
    return moments.affine(data, view(scale), view(offset))


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
