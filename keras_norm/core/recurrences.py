"""Linear recurrences over the samples of a batch, all samples at once.

s <- factor_i * s + addend_i. Two steps are one step of the same form, so
doubling the distance gives all states in log2(n) rounds on (N, C) tables.
"""

import keras
from keras import ops


def states(factor, addend, start):
    """(the state before each sample (N, C), the last one (1, C)).

    Not to be differentiated where the size of the batch is unknown.

    Args:
        factor: (N, C), or a number.
        addend: (N, C).
        start: (1, C).
    """
    n = ops.shape(addend)[0]
    # Unknown only to TensorFlow, which then has a loop.
    unknown = not isinstance(n, int) and keras.backend.backend() != "torch"
    if not isinstance(factor, float) or unknown:
        factor, addend = _by_samples(factor, addend, n, unknown)
    else:
        factor, addend = _by_powers(factor, addend, n)
    after = factor * start + addend
    found = ops.concatenate([start, after], axis=0)
    return found[:-1], found[-1:]


def _delayed(t, distance, fill):
    """Row i of the result is row i - distance of t."""
    head = ops.full((distance, t.shape[1]), fill, t.dtype)
    return ops.concatenate([head, t[:-distance]], axis=0)


def _by_powers(factor, addend, n):
    """The same factor for all samples: its powers are numbers."""
    distance = 1
    while distance < n:
        late = _delayed(addend, distance, 0.0)
        addend = addend + factor**distance * late
        distance *= 2
    exponent = ops.arange(1, n + 1, dtype=addend.dtype)
    factor = ops.convert_to_tensor(factor, dtype=addend.dtype)
    powers = ops.power(factor, exponent)
    return ops.expand_dims(powers, -1), addend


def _by_samples(factor, addend, n, unknown):
    """A factor for each sample."""
    factor = factor * ops.ones_like(addend)
    if not unknown:
        distance = 1
        while distance < n:
            addend = addend + factor * _delayed(addend, distance, 0.0)
            factor = factor * _delayed(factor, distance, 1.0)
            distance *= 2
        return factor, addend
    index = ops.arange(n, dtype="int32")

    def double(distance, factor, addend):
        source = ops.maximum(index - distance, 0)
        near = ops.expand_dims(ops.less(index, distance), -1)
        late = ops.where(near, 0.0, ops.take(addend, source, axis=0))
        last = ops.where(near, 1.0, ops.take(factor, source, axis=0))
        return distance * 2, factor * last, addend + factor * late

    _, factor, addend = ops.while_loop(
        lambda distance, *_: ops.less(distance, n),
        double,
        (ops.ones((), "int32"), factor, addend),
    )
    return factor, addend
