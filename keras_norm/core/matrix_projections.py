"""Projections of matrices on orthonormal ones, and their largest value.

Made for a step of training: no gradients, nothing random, and only what every
compiler has fast: matrix products and Householder's QR. (A singular value
decomposition of 64 x 576 takes XLA 1.6 s in TensorFlow, the same 10 ms here.)
"""

import math

import keras
from keras import ops

from keras_norm.core.orthogonal import gram
from keras_norm.ops.matrix_roots import identity
from keras_norm.ops.spectra import transposed

_TINY = 1e-30
# What a singular value is lifted by, relative to the Frobenius norm: the
# rounding of one entry.
_LIFT = {"float64": 2e-16}
_LIFT_OTHERWISE = 1e-7
# A smaller value would send singular values near 1 so close to 0 that
# rounding decides on their sign.
_LEAST_TARGET = 0.1
_SQUARINGS = 20


def smaller_gram(m):
    """M M^T or M^T M, whichever is smaller: their eigenvalues but 0 agree."""
    rows, columns = m.shape[-2:]
    return gram(m if rows <= columns else transposed(m))


def _scaled(m):
    """(m / its largest entry, the largest entry) of each matrix."""
    largest = ops.max(ops.abs(m), axis=(-2, -1), keepdims=True)
    largest = ops.maximum(largest, _TINY)
    return m / largest, largest


def _frobenius(m):
    square = ops.sum(ops.square(m), axis=(-2, -1), keepdims=True)
    return ops.sqrt(ops.maximum(square, _TINY))


def _factors(tall):
    """Q and R of the QR decomposition with a diagonal of R >= 0."""
    q, r = ops.qr(_scaled(tall)[0], mode="reduced")
    diagonal = ops.diagonal(r, axis1=-2, axis2=-1)
    sign = ops.where(diagonal < 0, -1.0, 1.0)
    sign = ops.cast(sign, r.dtype)
    return q * ops.expand_dims(sign, -2), r * ops.expand_dims(sign, -1)


def _scales(least, precision):
    """Scales of Newton-Schulz steps that take [least, 1] to 1.

    The step x (3 - a^2 x^2) a / 2 with a^2 = 3 / (1 + l + l^2) sends l and 1
    to the same value, the least on [l, 1]: no other a is better. The last
    step squares what is missing.
    """
    scales = []
    while 1.0 - least > 0.1 * math.sqrt(precision):
        target = max(least, _LEAST_TARGET)
        a = math.sqrt(3.0 / (1.0 + target + target**2))
        scales.append(a)
        least = 0.5 * a * least * (3.0 - (a * least) ** 2)
    return [*scales, 1.0]


def _polar_factor(r):
    """U V^T of square triangular R = U S V^T, diagonal >= 0."""
    dtype = keras.backend.standardize_dtype(r.dtype)
    lift = _LIFT.get(dtype, _LIFT_OTHERWISE)
    eye = identity(r.shape[-1], r.dtype)
    # Triangular with a positive diagonal: regular, also if R = 0.
    x = r / _frobenius(r) + lift * eye
    for a in _scales(0.1 * lift, lift):
        square = ops.matmul(transposed(x), x)
        x = ops.matmul(x, 1.5 * a * eye - (0.5 * a**3) * square)
    return x


def _columns_of(m, project):
    """Apply a projection on orthonormal columns to tall or wide matrices."""
    rows, columns = m.shape[-2:]
    if rows <= columns:
        return transposed(project(transposed(m)))
    return project(m)


def nearest_orthonormal(m):
    """The nearest matrices with orthonormal rows, or columns if m is tall."""

    def project(tall):
        q, r = _factors(tall)
        return ops.matmul(q, _polar_factor(r))

    return _columns_of(m, project)


def orthonormalized(m):
    """Rows (columns if m is tall) by Gram-Schmidt in their order: QR."""
    return _columns_of(m, lambda tall: _factors(tall)[0])


def largest_singular_value(m):
    """The largest singular value of each matrix, (B, 1, 1).

    |S^n|_F^(1/n) of the gram matrix S tends to its largest eigenvalue from
    above, whatever the gaps of the spectrum, and squaring doubles n: after 20
    squarings of d x d the root is at most log(d) / 2^22 too large (relative;
    2e-6 for d = 4096), besides rounding.
    """
    m, largest = _scaled(m)
    s = smaller_gram(m)
    norm = _frobenius(s)
    logarithm = ops.log(norm)
    for step in range(1, _SQUARINGS + 1):
        s = s / norm
        s = ops.matmul(s, s)
        norm = _frobenius(s)
        logarithm = logarithm + ops.log(norm) / 2**step
    return largest * ops.exp(0.5 * logarithm)
