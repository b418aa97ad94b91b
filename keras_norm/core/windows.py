"""The window area: statistics of the neighbourhood of each position.

The window is centred at each place and cut at the border; `window_sums` says
which entries that are, `window_moments` measures them.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core import operations
from keras_norm.core import positions
from keras_norm.core import window_moments
from keras_norm.core.areas import Area
from keras_norm.core.areas import is_count
from keras_norm.core.window_sums import covers
from keras_norm.core.window_sums import neighbours
from keras_norm.core.window_sums import per_axis


@keras.saving.register_keras_serializable("keras_norm")
class Window(Area):
    """The neighbourhood of each position, per sample and group of channels.

    The window is centred and cut at the border of the image; its statistics
    are those of the entries inside.

    Args:
        size: entries of the window, one number or one per spatial axis.
        channels_per_group: consecutive channels that share statistics.
    """

    family = "window"

    def __init__(self, size, channels_per_group=1):
        several = isinstance(size, (list, tuple))
        per_axis("size", size, len(size) if several else 1)
        if not is_count(channels_per_group):
            raise errors.received(
                "`channels_per_group` must be a positive integer.",
                channels_per_group=channels_per_group,
            )
        # What the area of the whole image is, which large windows are.
        super().__init__("each", "each" if channels_per_group == 1 else "all")
        self.size, self.channels_per_group = size, channels_per_group

    def groups(self, channels) -> int:
        """Number of groups of channels."""
        return channels // self.channels_per_group

    def check(self, channels) -> None:
        """The groups must fill the channels."""
        width = self.channels_per_group
        if channels % width:
            divisors = [d for d in range(1, channels + 1) if channels % d == 0]
            near = max(d for d in divisors if d < width)
            raise errors.received(
                "`channels_per_group` must divide the number of channels.",
                f"Use {near}, or 1 for each channel alone.",
                channels_per_group=width,
                channels=channels,
            )

    def spans(self, x, axis) -> tuple:
        """The window along the spatial axes of x."""
        spatial = [a for a in range(1, len(x.shape)) if a != axis]
        if not spatial:
            return ()
        sizes = per_axis("size", self.size, len(spatial))
        return tuple(map(neighbours, spatial, sizes))

    def whole(self, x, spans) -> bool:
        """Is each window known to be the whole image?"""
        return all(covers(s, x.shape[s.axis]) for s in spans)

    def normalize(self, layer, x, training, mask, condition):
        """Window moments, then one scale-and-shift."""
        axis = layer.axis % len(x.shape)
        spans = self.spans(x, axis)
        if self.whole(x, spans):
            return elementwise.normalize(layer, x, training, mask, condition)
        operation = layer.operation
        if not isinstance(operation, MOMENT_OPERATIONS):
            raise errors.received(
                "`operation` over windows must be one of "
                f"{[o.__name__ for o in MOMENT_OPERATIONS]}.",
                operation=operation,
            )
        w = None
        if mask is not None:
            w = moments.aligned(mask, x)
            x = moments.without_padding(x, w)
        d, pivot, seen, w = self.grouped(x, axis, spans, w)
        mean, variance = (
            ops.expand_dims(t, axis + 1)
            for t in self.measure(seen, w, axis, spans, operation)
        )
        if not operation.centred:
            variance = variance + ops.square(pivot + mean)
        rate = operation.rate(variance, layer.epsilon)
        y = d - mean if operation.names[0] else d + pivot
        if rate is not None:
            y = y * rate
        gamma, beta = positions.factors_of(layer, x, axis, condition)
        return ops.reshape(y, ops.shape(x)) * gamma + beta

    def grouped(self, x, axis, spans, w):
        """Data with an axis for the groups at `axis`, that of channels behind.

        Returns:
            x - pivot, the pivot, the same data with 0 for what is masked, and
            a tuple of the weights, empty if there are none.
        """
        shape = tuple(ops.shape(x))
        channels = x.shape[axis]
        split = (self.groups(channels), self.channels_per_group)
        spatial = [s.axis for s in spans]
        axes = (*(a + (a > axis) for a in spatial), axis + 1)
        x = ops.reshape(x, (*shape[:axis], *split, *shape[axis + 1 :]))
        if w is None:
            pivot = moments.pivot_of(x, axes, keepdims=True)
            d = x - pivot
            return d, pivot, d, ()
        full = list(ops.shape(w))
        for a in spatial:
            full[a] = shape[a]
        inner = (1, 1) if w.shape[axis] == 1 else split
        w = ops.broadcast_to(w, full)
        w = ops.reshape(w, (*full[:axis], *inner, *full[axis + 1 :]))
        known = ops.where(w > 0, x, 0.0)
        pivot = ops.mean(w * known, axis=axes, keepdims=True)
        count = ops.mean(w, axis=axes, keepdims=True)
        pivot = moments.settled(pivot / ops.maximum(count, moments.TINY))
        d = x - pivot
        return d, pivot, ops.where(w > 0, d, 0.0), (w,)

    def measure(self, d, w, axis, spans, operation):
        """Mean and variance of every window and group, groups at `axis`.

        `w` is a tuple of the weights or empty.
        """
        found = window_moments.of(spans, axis)(d, *w)
        mean, variance = found[0], found[1]
        if getattr(operation, "unbiased", False):
            parts = window_moments.parts_of(ops.stop_gradient(d), axis, *w)
            count = window_moments.merged(parts, spans)[0] * d.shape[axis + 1]
            variance = moments.bessel(variance, count)
        return mean, variance


MOMENT_OPERATIONS = (
    operations.Standardize,
    operations.Center,
    operations.Scale,
    operations.ScaleByDeviation,
)
