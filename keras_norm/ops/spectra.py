"""Functions of symmetric matrices through their eigenvalues.

The gradient of an eigendecomposition divides by differences of eigenvalues and
is NaN where two are equal, as in every layer that is white already. A function
of the matrix needs no such differences: the derivative of

    f(S) = U diag(f(l)) U^T

is U (F * (U^T dS U)) U^T with the divided differences F_ij = (f(l_i) - f(l_j))
/ (l_i - l_j), which for the powers +-1/2 have a closed form without a
difference (Daleckii & Krein, 1965). So have those of second order, of which
the second derivative is made.
"""

import keras
from keras import ops

from keras_norm.core.primitives import cached

# Least eigenvalue that is told from 0, as a fraction of the largest.
RELATIVE_FLOOR = 1.2e-7
# Least gap between eigenvalues that an eigenvector's gradient is divided by,
# as a fraction of the largest: the root of float32's resolution.
RELATIVE_GAP = 3.5e-4
_LEAST = 1e-24  # Its power -3/2 is still a float32.
# Rounding of a matrix and of its eigenvalues, as a fraction of the trace.
NOISE = 4 * RELATIVE_FLOOR


def transposed(t):
    """The transposes of a batch of matrices."""
    return ops.swapaxes(t, -1, -2)


def symmetric(t):
    """The symmetric parts of a batch of matrices."""
    return 0.5 * (t + transposed(t))


def column(t):
    """(..., d) -> (..., d, 1)."""
    return ops.expand_dims(t, -1)


def row(t):
    """(..., d) -> (..., 1, d)."""
    return ops.expand_dims(t, -2)


def eigenvectors(s):
    """Eigenvalues, smallest first, and eigenvectors as columns.

    Rows and columns are first sorted by their diagonal, the largest first.
    Where channels have widely different scales, the programs behind ops.eigh
    then find what belongs to the small ones too. (One outlier of 1e4 in one
    of four whitened channels: errors of at most 3e-4 instead of 3e-1.)
    """
    diagonal = ops.diagonal(s, axis1=-2, axis2=-1)
    order = ops.argsort(-diagonal, axis=-1)
    s = ops.take_along_axis(s, column(order), axis=-2)
    s = ops.take_along_axis(s, row(order), axis=-1)
    values, vectors = ops.eigh(s)
    back = ops.argsort(order, axis=-1)
    return values, ops.take_along_axis(vectors, column(back), axis=-2)


def _largest(values):
    """The largest of sorted eigenvalues, (..., 1).

    Not ops.max, at which PyTorch's compiler breaks the graph.
    """
    return ops.maximum(values[..., :1], values[..., -1:])


def _roots(values):
    """Square roots of the eigenvalues, at least those of the floor."""
    floor = ops.maximum(RELATIVE_FLOOR * _largest(values), _LEAST)
    return ops.sqrt(ops.maximum(values, floor))


def _first(r, power):
    """Divided differences of first order, from roots of the eigenvalues."""
    a, b = column(r), row(r)
    return 1.0 / (a + b) if power > 0 else -1.0 / (a * b * (a + b))


def _second(r, power):
    """Divided differences of second order, (..., i, k, j)."""
    a, b = r[..., :, None, None], r[..., None, :, None]
    c = r[..., None, None, :]
    sums = (a + b) * (b + c) * (a + c)
    return -1.0 / sums if power > 0 else (a + b + c) / (a * b * c * sums)


def _between(left, middle, right):
    return ops.matmul(ops.matmul(left, middle), right)


@cached
def _derivative(power):
    @ops.custom_gradient
    def derivative(s, vectors, r, direction):
        """The derivative at s along `direction`; s says what it depends on."""
        back = transposed(vectors)

        def weighed(t, weights):
            return _between(vectors, weights * _between(back, t, vectors), back)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            upstream = symmetric(upstream)
            first = weighed(upstream, _first(r, power))
            a, b = (_between(back, t, vectors) for t in (upstream, direction))
            both = ops.einsum("...ikj,...ik,...kj->...ij", second(), a, b)
            second_order = _between(vectors, both + transposed(both), back)
            return second_order, 0.0 * vectors, 0.0 * r, first

        def second():
            return _second(r, power)

        return weighed(direction, _first(r, power)), grad

    return derivative


@cached
def _assembled(power, level):
    """(s, vectors, r) -> V r^(+-1) V^T as a function of s."""

    @ops.custom_gradient
    def assembled(s, vectors, r):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            slope = _derivative(power)(s, vectors, r, symmetric(upstream))
            return slope, 0.0 * vectors, 0.0 * r

        if level:
            return _assembled(power, level - 1)(s, vectors, r), grad
        factors = r if power > 0 else 1.0 / r
        return ops.matmul(vectors * row(factors), transposed(vectors)), grad

    return assembled


def _power(power, s):
    values, vectors = eigenvectors(ops.stop_gradient(s))
    # JAX differentiates the backward together with what the forward computes,
    # which must know of s too: one more of the same within.
    level = 1 if keras.backend.backend() == "jax" else 0
    return _assembled(power, level)(s, vectors, _roots(values))


def square_root(s):
    """S^(1/2) of positive semidefinite S (..., d, d)."""
    return _power(0.5, s)


def inverse_square_root(s):
    """S^(-1/2) of positive definite S (..., d, d)."""
    return _power(-0.5, s)


@cached
def _truncated(power, threshold):
    @ops.custom_gradient
    def truncated(s):
        values, vectors = eigenvectors(ops.stop_gradient(s))
        total = ops.sum(ops.maximum(values, 0.0), axis=-1, keepdims=True)
        above = values >= ops.maximum(threshold, NOISE * total)
        kept = ops.cast(above, values.dtype)
        r = ops.sqrt(ops.where(above, values, 1.0))
        factors = kept * (r if power > 0 else 1.0 / r)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            both = column(kept) * row(kept) * _first(r, power)
            # The function of what is dropped is 0.
            square = column(ops.square(r))
            gaps = column(values) - row(values)
            gaps = ops.maximum(gaps, RELATIVE_GAP * square)
            one = column(kept * factors) * row(1.0 - kept) / gaps
            weights = both + one + transposed(one)
            inner = _between(transposed(vectors), symmetric(upstream), vectors)
            return _between(vectors, weights * inner, transposed(vectors))

        return ops.matmul(vectors * row(factors), transposed(vectors)), grad

    return truncated


def truncated_square_root(s, threshold=1e-5):
    """S^(1/2) without the eigenvalues below `threshold`.

    Eigenvalues below 4.8e-7 of the trace, which are rounding, are left out as
    well. Of those left out the result is 0, whose gradient is that of the
    projection on the others: finite unless they meet, and gaps below 3.5e-4 of
    the eigenvalue that is kept are taken as that large. First derivatives only.

    Args:
        s: symmetric positive semidefinite matrices (..., d, d).
        threshold: least eigenvalue that is kept.
    """
    return _truncated(0.5, float(threshold))(s)


def truncated_inverse_square_root(s, threshold=1e-5):
    """S^(-1/2) on the eigenvectors whose eigenvalues reach `threshold`.

    A root of the pseudoinverse; see `truncated_square_root`.
    """
    return _truncated(-0.5, float(threshold))(s)


@cached
def _principal(scaled):
    @ops.custom_gradient
    def principal(s):
        values, vectors = eigenvectors(ops.stop_gradient(s))
        values, vectors = ops.flip(values, -1), ops.flip(vectors, -1)
        largest = ops.argmax(ops.abs(vectors), axis=-2, keepdims=True)
        sign = ops.sign(ops.take_along_axis(vectors, largest, axis=-2))
        vectors = vectors * sign
        r = _roots(values)
        factors = 1.0 / r if scaled else ops.ones_like(r)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # In the basis of eigenvectors: of the rows' directions ...
            inner = ops.matmul(upstream, vectors)
            gaps = row(values) - column(values)
            least = RELATIVE_GAP * column(_largest(values))
            gaps = gaps / ops.maximum(ops.square(gaps), ops.square(least))
            turned = symmetric(gaps * transposed(inner * column(factors)))
            # ... and of their lengths.
            if scaled:
                d = ops.arange(s.shape[-1], dtype="int32")
                on = ops.cast(ops.equal(d[:, None], d), s.dtype)
                turned = turned - 0.5 * on * inner * column(factors**3)
            return _between(vectors, turned, transposed(vectors))

        return column(factors) * transposed(vectors), grad

    return principal


def principal_axes(s, scaled=True):
    """Eigenvectors as rows, largest eigenvalue first, W = L^(-1/2) U^T.

    The sign of each is such that its largest entry is positive, so that all
    backends agree. The gradient of an eigenvector grows without bound where
    its eigenvalue meets another; gaps below 3.5e-4 of the largest eigenvalue
    are taken as that large, which keeps it finite. First derivatives only.

    Args:
        s: symmetric matrices (..., d, d).
        scaled: False leaves out L^(-1/2): the rotation U^T alone.
    """
    return _principal(bool(scaled))(s)
