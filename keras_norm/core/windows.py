"""The window area: statistics of the neighbourhood of each position.

A window of size k at place i covers i - (k-1)//2 ... i + k//2, cut at the
border. Four decisions keep it exact and its cost independent of k:

* Windows are separable: one axis after the other, any number of axes.
* A window of ones is built by doubling, from windows of 1, 2, 4 ... entries:
  about 2 log2(k) additions of slices. Differences of cumulated sums would cost
  less, but there one outlier spoils all windows behind it; here a sum rounds
  nothing but the entries of its own window.
* Variances are merged, not formed as E[d^2] - E[d]^2: two parts with means
  that differ by t give variance_a + variance_b + t^2 (Chan et al.). That does
  not cancel, wherever in the data the window lies.
* Gradients are analytic: that of a window is the mirrored window.
"""

import math
from collections import namedtuple
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core import operations
from keras_norm.core import positions
from keras_norm.core import primitives
from keras_norm.core.areas import Area
from keras_norm.core.areas import is_count

# A window along one axis: how many entries before and after the place it
# covers, and their weights (None: all 1).
Span = namedtuple("Span", "axis before after kernel")


def per_axis(name: str, size: Any, count: int) -> tuple:
    """A positive size for each of `count` axes, from one or from that many."""
    several = isinstance(size, (list, tuple))
    sizes = tuple(size) if several else (size,) * count
    if not sizes or not all(is_count(k) for k in sizes):
        raise errors.received(
            f"`{name}` must be a positive integer, or one for each axis that "
            "the window moves along.",
            **{name: size},
        )
    if len(sizes) != count:
        raise errors.received(
            f"`{name}` must have one size for each axis that the window moves "
            "along.",
            **{name: size, "axes": count},
        )
    return sizes


def neighbours(axis: int, size: int) -> Span:
    """The window of ones around each place; an even one reaches further on."""
    return Span(axis, (size - 1) // 2, size // 2, None)


def gaussian(axis: int, size: int, sigma: float, dtype: str) -> Span:
    """A Gaussian of odd size and mass 1, `sigma` in entries.

    The weights are multiples of a power of two, so that sums of them carry no
    rounding: a window inside the image has mass 1 and not 1 - 1e-7, of which
    data at 1e4 would make 1e-3.
    """
    grid = 2.0 ** (-50 if dtype == "float64" else -22)
    half = size // 2
    profile = [math.exp(-(((i - half) / sigma) ** 2) / 2) for i in range(size)]
    total = sum(profile)
    weights = [round(p / total / grid) * grid for p in profile]
    weights[half] += 1.0 - sum(weights)
    return Span(axis, half, half, tuple(weights))


def entire(axis: int) -> Span:
    """The window that is the whole axis, whatever its length."""
    return Span(axis, math.inf, math.inf, None)


def mass(span: Span) -> float:
    """Mass of the whole window."""
    return float(span.before + span.after + 1) if span.kernel is None else 1.0


def clipped(span: Span, length: object) -> Span:
    """The span without what lies outside an axis of that length everywhere."""
    if not isinstance(length, int):
        return span
    before = min(span.before, max(length - 1, 0))
    after = min(span.after, max(length - 1, 0))
    kernel = span.kernel
    if kernel is not None:
        kernel = kernel[span.before - before : span.before + after + 1]
    return Span(span.axis, before, after, kernel)


def covers(span: Span, length: object) -> bool:
    """True where the window contains the whole axis from every place."""
    if span.before == span.after == math.inf:
        return True
    if span.kernel is not None or not isinstance(length, int):
        return False
    return min(span.before, span.after) >= length - 1


def cut(t, axis: int, start: int, drop: int):
    """`t` without its first `start` and last `drop` entries along `axis`."""
    index = [slice(None)] * len(t.shape)
    index[axis] = slice(start, -drop if drop else None)
    return t[tuple(index)]


def padded(t, span: Span):
    """`t` with the zeros that the window sees outside."""
    width = [[0, 0] for _ in t.shape]
    width[span.axis] = [span.before, span.after]
    if isinstance(t, np.ndarray):
        return np.pad(t, width)
    return ops.pad(t, width, mode="constant", constant_values=0.0)


def doubled(parts: tuple, span: Span, merge):
    """Parts of every window of ones along one axis.

    Args:
        parts: tensors that describe the single entries.
        span: the window.
        merge: (parts, parts of entries further on) -> parts of both.
    """
    size = span.before + span.after + 1
    parts = tuple(padded(t, span) for t in parts)
    found, done, width = None, 0, 1
    # `parts` describes `width` entries from each place on; `excess` is how
    # much longer than the result it is.
    excess = size - 1

    def shifted(start, drop):
        return tuple(cut(t, span.axis, start, drop) for t in parts)

    while width <= size:
        if size & width:
            piece = shifted(done, excess - done)
            found = piece if found is None else merge(found, piece)
            done += width
        if 2 * width <= size:
            parts = merge(shifted(0, width), shifted(width, 0))
            excess -= width
        width *= 2
    return found


def _added(a, b):
    return tuple(s + t for s, t in zip(a, b, strict=True))


def _sum(t, span):
    """Sum of kernel * t over the window, zeros outside."""
    span = clipped(span, t.shape[span.axis])
    if span.kernel is None:
        return doubled((t,), span, _added)[0]
    t = padded(t, span)
    last = len(span.kernel) - 1
    return sum(
        weight * cut(t, span.axis, i, last - i)
        for i, weight in enumerate(span.kernel)
    )


def mirrored(span: Span) -> Span:
    """The window of the places that have this place in their window."""
    kernel = None if span.kernel is None else span.kernel[::-1]
    return Span(span.axis, span.after, span.before, kernel)


@primitives.cached
def _differentiable_sum(span):
    @ops.custom_gradient
    def window_sum(t):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return _sum(upstream, mirrored(span))

        return _sum(t, span), grad

    return window_sum


def total(t, span: Span):
    """Sum of kernel * t over the window at each place, zeros outside.

    A window that covers the axis from everywhere leaves one entry of it.
    """
    if covers(span, t.shape[span.axis]):
        return ops.sum(t, axis=span.axis, keepdims=True)
    return _differentiable_sum(span)(t)


def root(t):
    """sqrt(t) with gradient 0 at 0."""
    positive = t > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, t, 1.0)), 0.0)


def only(axes, x) -> list:
    """An index that keeps `axes` and the first entry of all others."""
    return [
        slice(None) if a in axes else slice(0, 1) for a in range(len(x.shape))
    ]


class Field:
    """Means over one window, bound to one input.

    Args:
        x: the input.
        spans: the window, one span per axis that it moves along.
        whole: axes that the window always spans.
        weights: weights of x's rank, or None; 0 counts as outside.
        renormalize: divide by the mass of the window inside the image. False
            divides by that of the whole window: zeros outside.

    Attributes:
        inside: fraction of the window's mass that lies inside the image.
    """

    def __init__(self, x, spans, whole=(), weights=None, renormalize=True):
        self.spans, self.whole = tuple(spans), tuple(whole)
        self.renormalize = renormalize
        moved = [s.axis for s in self.spans]
        self.axes = (*moved, *self.whole)
        if weights is None:
            ones = ops.ones_like(x[tuple(only(moved, x))])
        else:
            shape = list(ops.shape(weights))
            for a in moved:
                shape[a] = ops.shape(x)[a]
            ones = weights = ops.broadcast_to(weights, shape)
        self.weights = weights
        self.full = math.prod(mass(s) for s in self.spans)
        self.mass = self._sum(ones)
        self.inside = self.mass / self.full
        if renormalize:
            seen = self.mass > 0
            self.factor = ops.where(
                seen, 1.0 / ops.where(seen, self.mass, 1.0), 0.0
            )
        else:
            self.factor = 1.0 / self.full

    def _sum(self, t):
        if self.whole:
            t = ops.mean(t, axis=self.whole, keepdims=True)
        for span in self.spans:
            t = total(t, span)
        return t

    def weighted(self, t):
        """`t` times the weights; 0 where masked, whatever is there."""
        if self.weights is None:
            return t
        return ops.where(self.weights > 0, self.weights * t, 0.0)

    def mean(self, t):
        """Mean of `t` over the window at each place."""
        return self._sum(self.weighted(t)) * self.factor

    def average(self, t):
        """Mean of `t` over all places of each sample (and its channels)."""
        if self.weights is None:
            return ops.mean(t, axis=self.axes, keepdims=True)
        seen = ops.mean(self.weights, axis=self.axes, keepdims=True)
        mean = ops.mean(self.weighted(t), axis=self.axes, keepdims=True)
        return mean / ops.maximum(seen, moments.TINY)

    def overall(self, t):
        """Mean of x-shaped `t` over everything, 0 where there is nothing."""
        entries = ops.sum(self.weighted(ops.ones_like(t)))
        return ops.sum(self.weighted(t)) / ops.maximum(entries, moments.TINY)

    def pivot(self, x):
        """A value near each sample's (or its channels') mean, no gradient."""
        if self.weights is None:
            return moments.pivot_of(x, self.axes, keepdims=True)
        return moments.settled(self.average(x))

    def centred(self, d, pivot):
        """x minus the mean of its window, from d = x - pivot."""
        v = d - self.mean(d)
        if self.renormalize:
            return v
        # What the zeros outside take from the mean of the pivot; exactly 0
        # where the window lies inside.
        return v + pivot * ((self.full - self.mass) / self.full)


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
        ops.squeeze(cut(t, axis, i, size - 1 - i), axis) for i in range(size)
    ]
    return sum(pieces[1:], pieces[0]) * (1.0 / size)


def merged_windows(parts, spans, rows=None):
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
        return ops.ones_like(t[tuple(only([axis], t))])
    shape = [1] * len(t.shape)
    shape[axis] = length
    return np.ones(shape)


def _merged_along(parts, span):
    length = parts[1].shape[span.axis]
    if not covers(span, length):
        return doubled(parts, clipped(span, length), _merged)
    weight, mean, squares = parts
    weight = ops.convert_to_tensor(weight, mean.dtype)
    return _merged_axis((weight, mean, squares), span.axis)


@primitives.cached
def _window_moments(spans, axis):
    """(d[, w]) -> mean and variance of every window and group, stacked."""

    @ops.custom_gradient
    def window_moments(d, *w):
        parts = parts_of(d, axis, *w)
        count, mean, variance = merged_windows(parts, spans)
        rate = 1.0 / ops.maximum(count * d.shape[axis + 1], moments.TINY)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # Of the mean: 1 / count. Of the variance: 2 (d - mean) / count.
            slope = 2.0 * upstream[1] * rate
            level = upstream[0] * rate - slope * mean
            for span in spans:
                if slope.shape[span.axis] != 1:
                    slope = _sum(slope, mirrored(span))
                    level = _sum(level, mirrored(span))
            slope = ops.expand_dims(slope, axis + 1)
            level = ops.expand_dims(level, axis + 1)
            into = slope * d + level
            if not w:
                return into
            return w[0] * into, ops.zeros_like(w[0])

        return ops.stack([mean, variance]), grad

    return window_moments


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
        found = _window_moments(spans, axis)(d, *w)
        mean, variance = found[0], found[1]
        if getattr(operation, "unbiased", False):
            parts = parts_of(ops.stop_gradient(d), axis, *w)
            count = merged_windows(parts, spans)[0] * d.shape[axis + 1]
            variance = moments.bessel(variance, count)
        return mean, variance


MOMENT_OPERATIONS = (
    operations.Standardize,
    operations.Center,
    operations.Scale,
    operations.ScaleByDeviation,
)
