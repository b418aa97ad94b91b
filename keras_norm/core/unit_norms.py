"""Norms of units, and what gradients are divided by."""

from keras import ops

from keras_norm.core.sparse_gradients import densified
from keras_norm.ops.matrix_roots import widened

# Below, a norm counts as 0: its inverse would be infinite in float32.
_LEAST = 1e-30


def norm(t, axis=None):
    """Euclidean norm over `axis`, kept as axes of size 1; None: all.

    Squares of entries neither vanish nor overflow.
    """
    if axis is not None and not len(axis):
        return ops.abs(t)
    largest = ops.max(ops.abs(t), axis=axis, keepdims=True)
    largest = ops.where(largest > _LEAST, largest, ops.ones_like(largest))
    squares = ops.sum(ops.square(t / largest), axis=axis, keepdims=True)
    return largest * ops.sqrt(squares)


def joint_norm(tensors):
    """Norm of all entries of several tensors, a scalar."""
    norms = [ops.reshape(norm(t), ()) for t in tensors]
    return ops.reshape(norm(ops.stack(norms)), ())


def ratio(above, below):
    """`above` / `below`, 0 where `below` vanishes."""
    vanishes = below <= _LEAST
    safe = ops.where(vanishes, ops.ones_like(below), below)
    return ops.where(vanishes, ops.zeros_like(below), above / safe)


def dense(t, variable=None):
    """A tensor or variable as a tensor of at least float32.

    Args:
        t: what is to be converted.
        variable: that whose gradient it is, which may be sparse.
    """
    if variable is not None:
        t = densified(t, variable)
    return widened(ops.convert_to_tensor(t))
