"""Codes of two or three levels, their scale, and what stands for a gradient.

The codes t are -1 and 1, or -1, 0 and 1. None of these functions has a
gradient: `straight_through` says what takes its place.
"""

import math

from keras import ops


def totals(t, kernel, per_neuron):
    """Sums of a kernel's entries, to be broadcast against it.

    Args:
        t: a tensor of the kernel's shape.
        kernel: how it is to be read.
        per_neuron: over each output neuron; otherwise over the kernel, each
            gate of a recurrent layer by itself.
    """
    sums = ops.sum(t, axis=kernel.reduced)
    if not per_neuron:
        # Gates are side by side on the last axis, if that is the only one.
        last = kernel.axes == (len(kernel.shape) - 1,)
        gates = kernel.gates if last else 1
        parts = ops.reshape(sums, (gates, -1))
        whole = ops.sum(parts, axis=1, keepdims=True)
        sums = ops.broadcast_to(whole, parts.shape)
    return kernel.spread(sums)


def magnitudes(v, kernel, threshold, per_neuron):
    """(least |v| of a code that is not 0, mean |v| of these codes).

    Args:
        v: the kernel.
        kernel: how it is to be read.
        threshold: the former in units of the mean |v|; None: there are no
            zeros, and both are the mean |v|.
        per_neuron: as of `totals`.
    """
    sizes = ops.abs(v)
    ones = ops.ones_like(v)
    mean = totals(sizes, kernel, per_neuron) / totals(ones, kernel, per_neuron)
    if threshold is None:
        return mean, mean
    least = threshold * mean
    chosen = ops.cast(sizes > least, v.dtype)
    count = ops.maximum(totals(chosen, kernel, per_neuron), 1.0)
    return least, totals(sizes * chosen, kernel, per_neuron) / count


def signs(positive, dtype):
    """1 where `positive` is true, otherwise -1."""
    return 2.0 * ops.cast(positive, dtype) - 1.0


def nearest(v, least=None):
    """The sign of v; with `least`, 0 where |v| is not larger than that."""
    codes = signs(v >= 0, v.dtype)
    if least is None:
        return codes
    return codes * ops.cast(ops.abs(v) > least, v.dtype)


def drawn(v, uniform, ternary):
    """Random codes, whose expectation is v clipped to [-1, 1].

    Args:
        v: the kernel in units of the scale.
        uniform: numbers of the uniform distribution on [0, 1), one for each
            entry.
        ternary: codes are the sign of v or 0; otherwise -1 or 1.
    """
    if ternary:
        chosen = ops.cast(uniform < ops.abs(v), v.dtype)
        return signs(v >= 0, v.dtype) * chosen
    return signs(uniform < (1.0 + v) / 2.0, v.dtype)


def glorot(kernel):
    """Half the limit of Glorot's uniform initializer."""
    *window, inputs, outputs = kernel.shape
    return math.sqrt(6.0 / (math.prod(window) * (inputs + outputs))) / 2.0


def straight_through(v, codes, alpha, gradient):
    """`alpha * codes`, exactly; its derivative by v as if codes were v.

    Args:
        v: the kernel.
        codes: what it is rounded to.
        alpha: the scale of the codes, a constant.
        gradient: "code": the derivative is alpha; "clipped": alpha where |v|
            is at most 1, otherwise 0; "identity": 1.
    """
    fixed = ops.stop_gradient(v)
    # 0, with the derivative 1: what it is added to does not round.
    step = v - fixed
    if gradient == "identity":
        return alpha * codes + step
    if gradient == "clipped":
        step = step * ops.cast(ops.abs(fixed) <= 1.0, v.dtype)
    return alpha * (codes + step)
