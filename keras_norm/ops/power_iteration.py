"""The largest singular value of a matrix by power iteration."""

from keras import ops

from keras_norm import errors
from keras_norm.ops.matrix_roots import widened


def unit(t, epsilon):
    """Vectors (..., n, 1) of length 1; zero stays zero."""
    square = ops.sum(ops.square(t), axis=(-2, -1), keepdims=True)
    return t * ops.rsqrt(ops.maximum(square, epsilon**2))


def power_iteration(matrix, vector, iterations=1, epsilon=1e-12):
    """Largest singular value sigma = u^T A v, and the vectors u and v.

    One iteration is v <- A^T u / |A^T u|, u <- A v / |A v|: two matrix-vector
    products. u and v are constants for the gradient, which is then that of
    the largest singular value, d sigma / d A = u v^T.

    Args:
        matrix: A of shape (..., rows, columns).
        vector: u to start from, (..., rows).
        iterations: number of iterations. 0 makes the half step
            v = A^T u / |A^T u| and keeps u.
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
    fixed = ops.stop_gradient(a)
    back = ops.swapaxes(fixed, -1, -2)
    u = ops.expand_dims(ops.stop_gradient(u), -1)
    v = unit(ops.matmul(back, u), epsilon)
    for step in range(iterations):
        v = unit(ops.matmul(back, u), epsilon) if step else v
        u = unit(ops.matmul(fixed, v), epsilon)
    sigma = ops.sum(u * ops.matmul(a, v), axis=(-2, -1))
    return sigma, ops.squeeze(u, -1), ops.squeeze(v, -1)
