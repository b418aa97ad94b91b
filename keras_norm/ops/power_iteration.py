"""The largest singular value of a matrix by power iteration."""

from keras import ops

from keras_norm import errors
from keras_norm.ops.matrix_roots import widened


def unit(t, epsilon):
    """Batch of anything with length 1 for each; zero stays zero."""
    axes = tuple(range(1, len(t.shape)))
    square = ops.sum(ops.square(t), axis=axes, keepdims=True)
    return t * ops.rsqrt(ops.maximum(square, epsilon**2))


def dot(a, b):
    """Inner products of two batches, (batch,)."""
    return ops.sum(a * b, axis=tuple(range(1, len(a.shape))))


def iterate(forward, backward, u, iterations, epsilon):
    """Power iteration of any linear map A, given by its products.

    Each iteration is one product with A^T and one with A; the last product is
    also what sigma is made of.

    Args:
        forward: v -> A v.
        backward: u -> A^T u.
        u: batch of vectors to start from.
        iterations: 0 makes the half step v = A^T u / |A^T u|.
        epsilon: least length that is divided by.

    Returns:
        (sigma, u, v), u and v constants for the gradient.
    """
    u = ops.stop_gradient(u)
    if not iterations:
        product = backward(u)
        v = unit(ops.stop_gradient(product), epsilon)
        return dot(v, product), u, v
    for _ in range(iterations):
        v = unit(ops.stop_gradient(backward(u)), epsilon)
        product = forward(v)
        u = unit(ops.stop_gradient(product), epsilon)
    return dot(u, product), u, v


def times(v, matrix):
    """v^T M of each of a batch."""
    return ops.squeeze(ops.matmul(ops.expand_dims(v, -2), matrix), -2)


def onto(matrix, v):
    """M v of each of a batch."""
    return ops.squeeze(ops.matmul(matrix, ops.expand_dims(v, -1)), -1)


def of_matrices(a, u, iterations, epsilon):
    """`iterate` for matrices (batch, rows, columns) and u (batch, rows)."""
    return iterate(
        lambda v: onto(a, v), lambda u: times(u, a), u, iterations, epsilon
    )


def of_columns(k, u, iterations, epsilon):
    """`of_matrices` for the transposes of the matrices."""
    return iterate(
        lambda v: times(v, k), lambda u: onto(k, u), u, iterations, epsilon
    )


def power_iteration(matrix, vector, iterations=1, epsilon=1e-12):
    """Largest singular value sigma = u^T A v, and the vectors u and v.

    One iteration is v <- A^T u / |A^T u|, u <- A v / |A v|: two matrix-vector
    products. u and v are constants for the gradient, which is then that of
    the largest singular value, d sigma / d A = u v^T.

    Args:
        matrix: A of shape (..., rows, columns).
        vector: u to start from, (..., rows).
        iterations: number of iterations. 0 makes the half step
            v = A^T u / |A^T u| and keeps u: one product, sigma = |A^T u|.
        epsilon: least length that is divided by.

    Returns:
        (sigma, u, v) of shapes (...), (..., rows), (..., columns), in at least
        float32.

    Raises:
        ValueError: negative `iterations`; shapes that do not match.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> a = keras.ops.convert_to_tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> u = keras.ops.convert_to_tensor([0.6, 0.8])
    >>> sigma, u, v = kn.ops.power_iteration(a, u, iterations=20)
    >>> print(keras.ops.convert_to_numpy(sigma).round(4))
    3.0

    Reference:

    - Miyato et al., Spectral Normalization for GANs, ICLR 2018,
      https://arxiv.org/abs/1802.05957
    """
    if not isinstance(iterations, int) or iterations < 0:
        raise errors.received(
            "`iterations` must be an integer of at least 0.",
            iterations=iterations,
        )
    a, u = widened(matrix), widened(vector)
    if len(a.shape) < 2 or tuple(u.shape) != tuple(a.shape[:-1]):
        raise errors.received(
            "`vector` must have the shape of `matrix` without its last axis.",
            vector_shape=tuple(u.shape),
            matrix_shape=tuple(a.shape),
        )
    *batch, rows, columns = ops.shape(a)
    sigma, u, v = of_matrices(
        ops.reshape(a, (-1, rows, columns)),
        ops.reshape(u, (-1, rows)),
        iterations,
        epsilon,
    )
    return (
        ops.reshape(sigma, batch),
        ops.reshape(u, (*batch, rows)),
        ops.reshape(v, (*batch, columns)),
    )
