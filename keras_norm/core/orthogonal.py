"""Matrices with orthonormal rows or columns: pure functions."""

from keras import ops

from keras_norm.ops import matrix_roots
from keras_norm.ops import spectra
from keras_norm.ops.spectra import transposed

# Taylor terms and squarings of the matrix exponential: with |A| <= 2^6 the
# argument of the series is at most 1, its rest 1/13! = 2e-10. Each squaring
# doubles the rounding.
_TERMS = 12
_SQUARINGS = 6


def gram(m):
    """M M^T of each matrix."""
    return ops.matmul(m, transposed(m))


def from_orthonormal(m):
    """The largest entry of |M M^T - I|, or of |M^T M - I| if that is smaller.

    Args:
        m: matrices (B, rows, columns).
    """
    rows, columns = m.shape[-2:]
    product = gram(m if rows <= columns else transposed(m))
    eye = matrix_roots.identity(product.shape[-1], product.dtype)
    return ops.max(ops.abs(product - eye))


def symmetric(m, epsilon=0.0, filler=None):
    """(M M^T + epsilon I)^(-1/2) M: the nearest matrix of orthonormal rows.

    Args:
        m: (B, rows, columns), rows <= columns.
        epsilon: added to the diagonal.
        filler: added to the gram matrices, for rows that are not there.
    """
    return ops.matmul(
        spectra.inverse_square_root(_regular(m, epsilon, filler)), m
    )


def by_newton(m, iterations, epsilon=0.0, filler=None):
    """`symmetric` by Newton steps, scaled by the Frobenius norm.

    Too few steps leave singular values between the smallest and 1.
    """
    s = _regular(m, epsilon, filler)
    return ops.matmul(
        matrix_roots.newton_roots(s, iterations, "frobenius")[1], m
    )


def _regular(m, epsilon, filler):
    s = gram(m)
    if epsilon:
        s = s + epsilon * matrix_roots.identity(s.shape[-1], s.dtype)
    return s if filler is None else s + filler


def first_columns(x):
    """I[:, :k] of the shape of x (B, n, k)."""
    n, k = x.shape[-2:]
    row = ops.arange(n, dtype="int32")[:, None]
    return ops.cast(ops.equal(row, ops.arange(k, dtype="int32")), x.dtype)


def lower(x, strict):
    """Entries on and below the diagonal of (B, n, k), or below it."""
    n, k = x.shape[-2:]
    row = ops.arange(n, dtype="int32")[:, None]
    column = ops.arange(k, dtype="int32")
    kept = (
        ops.greater(row, column) if strict else ops.greater_equal(row, column)
    )
    return x * ops.cast(kept, x.dtype)


def skew(x):
    """A = L - L^T (B, n, n), L the strict lower triangle of x (B, n, k)."""
    n, k = x.shape[-2:]
    low = ops.pad(lower(x, strict=True), [(0, 0), (0, 0), (0, n - k)])
    return low - transposed(low)


def cayley(x, full=False):
    """(I - A/2)^(-1) (I + A/2), A as in `skew`.

    Args:
        x: (B, n, k), k <= n.
        full: all n columns instead of the first k.
    """
    n, k = x.shape[-2:]
    eye = matrix_roots.identity(n, x.dtype)
    if 2 * k >= n:
        half = 0.5 * skew(x)
        right = eye + half
        return ops.solve(eye - half, right if full else right[..., :k])
    # A = U V^T with U = [L, -E] and V = [E, L], E the first k columns of I:
    # by Woodbury's identity a system of 2k unknowns instead of n.
    low = lower(x, strict=True)
    e = ops.broadcast_to(first_columns(x), ops.shape(low))
    u = ops.concatenate([low, -e], axis=-1)
    v = transposed(ops.concatenate([e, low], axis=-1))
    inner = matrix_roots.identity(2 * k, x.dtype) - 0.5 * ops.matmul(v, u)
    found = ops.matmul(u, ops.solve(inner, v if full else v[..., :k]))
    return (eye if full else e) + found


def exponential(x, full=False):
    """exp(A), A as in `skew`, by scaling, Taylor and squaring."""
    n, k = x.shape[-2:]
    a = skew(x) / 2**_SQUARINGS
    eye = matrix_roots.identity(n, x.dtype)
    # Horner's scheme of sum a^i / i!.
    result = eye + a / _TERMS
    for i in range(_TERMS - 1, 0, -1):
        result = eye + ops.matmul(a, result) / i
    # exp(A) - I instead of exp(A) while it is small: the squarings would
    # multiply the rounding of 1.
    rest = result - eye
    for _ in range(_SQUARINGS):
        rest = 2.0 * rest + ops.matmul(rest, rest)
    result = eye + rest
    return result if full else result[..., :k]


def householder(x, full=False):
    """H_1 ... H_k, H_j = I - 2 l_j l_j^T / |l_j|^2, columns times sign(x_jj).

    l_j is column j of x below the diagonal with a 1 on it. The product is
    I - L T L^T with 1/T = striu(L^T L) + diag(L^T L) / 2.
    """
    n, k = x.shape[-2:]
    e = first_columns(x)
    low = lower(x, strict=True) + e
    products = ops.matmul(transposed(low), low)
    upper = transposed(lower(transposed(products), strict=True))
    eye = matrix_roots.identity(k, x.dtype)
    inverse = upper + 0.5 * products * eye
    columns = transposed(low) if full else transposed(low)[..., :k]
    start = matrix_roots.identity(n, x.dtype) if full else e
    q = start - ops.matmul(low, ops.solve(inverse, columns))
    # As the published program: of the integer part, where 0 counts as 1.
    diagonal = ops.sum(ops.stop_gradient(x) * e, axis=-2)
    sign = ops.cast(ops.where(diagonal <= -1.0, -1.0, 1.0), x.dtype)
    if full:
        sign = ops.pad(sign, [(0, 0), (0, n - k)], constant_values=1.0)
    return q * ops.expand_dims(sign, -2)


MAPS = {
    "cayley": cayley,
    "matrix_exponential": exponential,
    "householder": householder,
}


def completed(x):
    """Orthogonal (B, n, n) whose first k columns are the Q of x = QR.

    R has a diagonal that is not negative.
    """
    k = x.shape[-1]
    q, r = ops.qr(x, mode="complete")
    diagonal = ops.diagonal(r[..., :k, :k], axis1=-2, axis2=-1)
    sign = ops.cast(ops.where(diagonal < 0, -1.0, 1.0), x.dtype)
    n = x.shape[-2]
    if n > k:
        sign = ops.pad(sign, [(0, 0), (0, n - k)], constant_values=1.0)
    return q * ops.expand_dims(sign, -2)
