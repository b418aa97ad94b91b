"""Inverse square roots of covariance matrices, batched and differentiable."""

from keras import ops

from keras_norm import errors
from keras_norm.core.layer import statistics_dtype
from keras_norm.ops import spectra

METHODS = ("eigh", "newton", "cholesky")
SCALINGS = ("trace", "frobenius")
_TINY = 1e-12


def identity(d, dtype):
    """The (d, d) identity, made of what exporters and compilers take.

    ops.eye inside a batch does not export to ONNX, NumPy constants break the
    graphs of PyTorch's compiler.
    """
    index = ops.arange(d, dtype="int32")
    return ops.cast(ops.equal(index[:, None], index), dtype)


def newton_roots(s, iterations, scaling="trace"):
    """(S^(1/2), S^(-1/2)) of positive definite S by coupled Newton steps.

    Y0 = S / c, Z0 = I; M = (3 I - Z Y) / 2; Y <- Y M; Z <- M Z, c the trace or
    the Frobenius norm. In exact arithmetic Z are the iterates of
    P <- (3 P - P^3 S / c) / 2; in float32 those diverge from about ten steps
    on and these converge.
    """
    eye = identity(s.shape[-1], s.dtype)
    if scaling == "trace":
        c = ops.sum(s * eye, axis=(-2, -1), keepdims=True)
        c = ops.maximum(c, _TINY)
    else:
        # The least value is inside: the root has no gradient at 0.
        square = ops.sum(ops.square(s), axis=(-2, -1), keepdims=True)
        c = ops.sqrt(ops.maximum(square, _TINY**2))
    y, z = s / c, eye
    for step in range(iterations):
        m = 1.5 * eye - 0.5 * (ops.matmul(z, y) if step else y)
        y, z = ops.matmul(y, m), (ops.matmul(m, z) if step else m)
    return y * ops.sqrt(c), z * ops.rsqrt(c)


def inverse_cholesky(s):
    """L^(-1) of positive definite S = L L^T."""
    eye = identity(s.shape[-1], s.dtype)
    root = ops.cholesky(s)
    # Batches do not broadcast alike on all backends.
    return ops.solve_triangular(root, eye + 0.0 * root, lower=True)


def inverse_square_root(
    s, method="eigh", epsilon=0.0, iterations=20, scaling="trace"
):
    """W with W S W^T = I: the matrix that whitens data of covariance S.

    Args:
        s: symmetric positive definite matrices (..., d, d). Half precision is
            computed in float32.
        method: "eigh": W = S^(-1/2), by eigendecomposition. "newton": the
            same by coupled Newton-Schulz steps, matrix products alone.
            "cholesky": W = L^(-1) with S = L L^T, lower triangular.
        epsilon: added to the diagonal of `s`.
        iterations: steps of "newton". Each multiplies the smallest eigenvalues
            of Z Y by up to 2.25: about log2.25(c / smallest eigenvalue of S)
            steps and four more converge, c being the scaling.
        scaling: divisor of "newton", "trace" or "frobenius".

    Returns:
        W, shape and dtype of `s` (float32 for half precision). Eigenvalues
        below 1.2e-7 of the largest count as that large ("eigh"). Gradients
        are finite at equal eigenvalues; those of "eigh" are closed forms, up
        to the second order.

    Raises:
        ValueError: an unknown method or scaling, `s` not square.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> s = keras.ops.convert_to_tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> w = kn.ops.inverse_square_root(s, "cholesky")
    >>> print(keras.ops.convert_to_numpy(w))
    [[0.5 0. ]
     [0.  1. ]]

    Note: exported graphs run everywhere with "newton" only; "eigh" and
    "cholesky" do not survive the export from JAX, nor that to ONNX.

    Reference:

    - Higham, Functions of Matrices, SIAM 2008, chapter 6
    - Daleckii & Krein, 1965, for the derivative
    """
    if method not in METHODS:
        raise errors.unknown_name("method", method, list(METHODS))
    if scaling not in SCALINGS:
        raise errors.unknown_name("scaling", scaling, list(SCALINGS))
    s = ops.convert_to_tensor(s)
    shape = tuple(s.shape)
    if len(shape) < 2 or shape[-1] is None or shape[-1] != shape[-2]:
        raise errors.received(
            "`s` must be square matrices (..., d, d) of known size.",
            shape=shape,
        )
    s = widened(s)
    if epsilon:
        s = s + epsilon * identity(shape[-1], s.dtype)
    if method == "newton":
        return newton_roots(s, iterations, scaling)[1]
    if method == "cholesky":
        return inverse_cholesky(s)
    return spectra.inverse_square_root(s)


def widened(t):
    """`t` in at least float32."""
    return ops.cast(t, statistics_dtype(t))
