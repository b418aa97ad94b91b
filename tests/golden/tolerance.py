"""How near a result must be to a golden vector."""

import math

import numpy as np

# Roundings of one result, in units of the depth of its reductions.
AMPLIFICATION = {
    # A mean, a root and a quotient.
    "plain": 16,
    # A variance about a mean, and a gradient that is projected off both.
    "standardize": 32,
    # An inverse root of a covariance, which multiplies by its condition.
    "whiten": 320,
    # The same by more than five Newton steps, each on the result of the last.
    "newton_long": 3200,
    # As `standardize`, with the like error of the reference on top.
    "float32_reference": 80,
}
# Error of the outputs and the state of a program that computed in float32; a
# gradient has gone through the chain a second time and is off by up to twice
# that. (The gradients of wc_zca are 1.3e-6 away from central differences of
# its formula in float64, its outputs 4e-7.)
REFERENCE_ERROR = {"float32": 1e-6, "float64": 2e-7}


def tolerance(
    kind, reference_dtype, reduction_length, dtype="float32", gradient=False
):
    """Allowed error relative to the largest entry of an array.

    Every operation rounds by at most u, half the spacing of the floating-point
    numbers at 1: 6e-8 in float32. Summing n terms in the way of vectorized
    programs, pairwise or in many partial sums, rounds each term about log2(n)
    times, and some four elementwise operations go with it, so that one
    reduction is wrong by u * (4 + log2(n)) of the largest entry. A kind of
    result multiplies this by the length of its chain of reductions and by how
    far that chain amplifies what enters it: the table above, in powers of two
    and ten. At n = 64 this gives 1e-5 (plain), 2e-5 (standardize), 2e-4
    (whiten), 2e-3 (newton_long), 5e-5 (float32_reference).

    To it is added what the vector itself is wrong by.

    Args:
        kind: a row's `tolerance_kind`.
        reference_dtype: a row's `dtype`, in which the program computed.
        reduction_length: number of entries behind one statistic.
        dtype: dtype in which the layer computes.
        gradient: is it one?
    """
    unit = np.finfo(dtype).eps / 2
    depth = 4 + math.log2(max(reduction_length, 2))
    error = AMPLIFICATION[kind] * unit * depth
    own = REFERENCE_ERROR[reference_dtype] * (2 if gradient else 1)
    return float(error + own)


def error(found, expected):
    """Largest error relative to the largest entry of `expected`.

    Where all of `expected` vanishes (the gradient of a normalization over a
    single entry) the error is absolute: the data are of the order of 1.
    """
    expected = np.asarray(expected, "float64")
    found = np.asarray(found, "float64")
    found, expected = np.squeeze(found), np.squeeze(expected)
    if found.shape != expected.shape:
        raise AssertionError(f"shape {found.shape}, expected {expected.shape}")
    largest = np.max(np.abs(expected))
    difference = np.abs(found - expected)
    return float(np.max(difference) / (largest if largest > 1e-9 else 1.0))
