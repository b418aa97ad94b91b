"""Windows along axes: which entries each covers, and sums over them.

A window of size k at place i covers i - (k-1)//2 ... i + k//2, cut at the
border. Three decisions keep sums exact and their cost independent of k:

* Windows are separable: one axis after the other, any number of axes.
* A window of ones is built by doubling, from windows of 1, 2, 4 ... entries:
  about 2 log2(k) additions of slices. Differences of cumulated sums would cost
  less, but there one outlier spoils all windows behind it; here a sum rounds
  nothing but the entries of its own window.
* Gradients are analytic: that of a window is the mirrored window.
"""

import math
from collections import namedtuple
from typing import Any

import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import primitives
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


def summed(t, span):
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
            return summed(upstream, mirrored(span))

        return summed(t, span), grad

    return window_sum


def total(t, span: Span):
    """Sum of kernel * t over the window at each place, zeros outside.

    A window that covers the axis from everywhere leaves one entry of it.
    """
    if covers(span, t.shape[span.axis]):
        return ops.sum(t, axis=span.axis, keepdims=True)
    return _differentiable_sum(span)(t)


def only(axes, x) -> list:
    """An index that keeps `axes` and the first entry of all others."""
    return [
        slice(None) if a in axes else slice(0, 1) for a in range(len(x.shape))
    ]
