"""Averages of a table along factors of its channels.

With C = f_1 ... f_q and gates g_i the channels are averaged by

V = kron_i ((1 - g_i) I + g_i 1 1^T / f_i),

as mean' = mean V and E[x^2]' = E[x^2] V. V is never built: the table (N, C) is
seen as (N, f_1, ..., f_q) and goes from axis to axis, O(N C q). The first
factor is the coarsest: its entries are blocks of C / f_1 consecutive channels.
"""

from keras import ops

from keras_norm.core.area_mixture import Moments
from keras_norm.core.moments import TINY
from keras_norm.core.moments import settled


def prime_factors(number) -> tuple:
    """Ascending; (1,) of 1, so that there is always one."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return (*found, number) if number > 1 or not found else tuple(found)


def between(gate, off, on) -> Moments:
    """The mixture of two distributions, of weights 1 - gate and gate.

    Its variance is E[x^2] - E[x]^2 of the mixed moments, from deviations:
    nothing cancels.

    Args:
        gate: 0, 1 or between.
        off: `Moments`.
        on: `Moments` relative to the same.
    """
    shift = (1.0 - gate) * off.shift + gate * on.shift
    spreads = [
        part.variance + ops.square(part.shift - shift) for part in (off, on)
    ]
    return Moments(shift, (1.0 - gate) * spreads[0] + gate * spreads[1])


def mean(t, axis, weight=None):
    """Along an axis, kept; 0 where the weights are."""
    if weight is None:
        return ops.mean(t, axis=axis, keepdims=True)
    total = ops.sum(weight * t, axis=axis, keepdims=True)
    all_of_it = ops.sum(weight, axis=axis, keepdims=True)
    return total / ops.maximum(all_of_it, TINY)


def averaged(part, pivot, gates, factors, weight=None) -> Moments:
    """The `Moments` of a table, averaged along the factors of the channels.

    Args:
        part: `Moments`, (N, C): means relative to the pivot.
        pivot: values of the data, (N, C).
        gates: one for each factor, (q,).
        factors: of the number of channels.
        weight: (N, C), what each entry counts; None: all the same.
    """
    shape = (-1, *factors)
    split = [ops.reshape(t, shape) for t in (*part, pivot)]
    part, pivot = Moments(*split[:2]), split[2]
    if weight is not None:
        weight = ops.reshape(weight, shape)
    for i, factor in enumerate(factors):
        if factor == 1:
            continue
        gate, axis = gates[i], i + 1

        # Channels may lie far apart: relative to a value near those that are
        # averaged, of which equal data have the same.
        first = pivot[(slice(None),) * axis + (slice(1),)]
        near = settled(first, mean(pivot - first, axis, weight))
        apart = pivot - near
        shift = part.shift + apart
        centre = mean(shift, axis, weight)
        spread = part.variance + ops.square(shift - centre)
        variance = mean(spread, axis, weight)
        part = between(gate, part, Moments(centre - apart, variance))
        if weight is not None:
            step = ops.stop_gradient(gate)
            weight = (1.0 - step) * weight + step * mean(weight, axis)
    size = 1
    for factor in factors:
        size *= factor
    return Moments(*(ops.reshape(t, (-1, size)) for t in part))
