"""How far a correct result may be from the exact one.

One formula for all tests, from the number format and the length of the
reductions; nothing is tuned to a layer.
"""

import numpy as np

# Half the distance from 1 to the next number: the error of one rounding.
ROUNDING = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
# Roundings along the longest chain of operations of a layer besides its sums:
# pivot, mean, variance, epsilon, root, rate, shift, gamma, beta, each of which
# a later division may double.
STEPS = 32


def computed(entries, scale=1.0, dtype="float32"):
    """Absolute tolerance of a result computed in `dtype`.

    A sum of n terms in random order is off by about sqrt(n) roundings of its
    largest term, every further operation by one; the result is compared with
    `scale`, its largest entry.

    Args:
        entries: length of the longest sum.
        scale: largest absolute entry of the exact result.
        dtype: number format of the computation.
    """
    roundings = STEPS + 4 * np.sqrt(entries)
    return float(ROUNDING[dtype] * roundings * max(scale, 1.0))


def stored(scale, dtype):
    """Tolerance of a float32 result that was stored in `dtype`.

    One rounding, and one more since the float32 result is itself not exact.
    """
    return float(2 * ROUNDING[dtype] * scale)


def close(actual, expected, entries=None, dtype="float32", scale=None):
    """Assert that `actual` is `expected` as far as `dtype` allows."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if entries is None:
        entries = expected.size
    if scale is None:
        scale = largest(expected)
    atol = computed(entries, scale, dtype)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def largest(values):
    """Largest finite absolute entry, 0 where there is none."""
    values = np.abs(np.asarray(values, dtype="float64"))
    values = values[np.isfinite(values)]
    return float(np.max(values)) if values.size else 0.0
