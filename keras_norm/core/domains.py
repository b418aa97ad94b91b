"""Which domain each sample belongs to, as weights of the domains.

Labels are compared with all domains: no step depends on their values, so that
every backend compiles it.
"""

from collections import namedtuple

import keras
from keras import ops

from keras_norm import errors

# weights: of the domains, (1, size) or (N, size). alike: they are the same for
# all samples. labels: one of them is 1, or none.
Chosen = namedtuple("Chosen", "weights alike labels")


def chosen(domain, size, dtype):
    """The domains of a call.

    Args:
        domain: see `DomainWhitening`.
        size: number of domains.
        dtype: of the weights.
    """
    if isinstance(domain, int):
        check("domain", domain, size)
    domain = ops.convert_to_tensor(domain)
    shape = tuple(domain.shape)
    soft = "float" in keras.backend.standardize_dtype(domain.dtype)
    alike = soft and shape == (size,)
    several = len(shape) == 2 and shape[1] == size and (soft or size > 1)
    if alike or several:
        weights = ops.reshape(ops.cast(domain, dtype), (-1, size))
        total = ops.sum(weights, axis=1, keepdims=True)
        total = ops.where(ops.equal(total, 0.0), 1.0, total)
        return Chosen(weights / total, alike, False)
    alone = len(shape) == 2 and shape[1] == 1
    if shape and not alone and (soft or len(shape) > 1):
        raise errors.received(
            "`domain` must be integers of shape (), (N,) or (N, 1), or "
            f"weights of shape ({size},) or (N, {size}).",
            shape=shape,
            dtype=keras.backend.standardize_dtype(domain.dtype),
        )
    labels = ops.reshape(ops.cast(domain, "int32"), (-1, 1))
    weights = ops.equal(labels, ops.arange(size, dtype="int32"))
    return Chosen(ops.cast(weights, dtype), not shape, True)


def check(name, domain, size):
    """Refuse what is no index of a domain."""
    whole = isinstance(domain, int) and not isinstance(domain, bool)
    if not whole or not 0 <= domain < size:
        raise errors.received(
            f"`{name}` must be an integer from 0 to {size - 1}.",
            **{name: domain},
        )


def mixed(weights, rows):
    """Rows (size, ...) of the domains mixed by weights (N, size)."""
    if len(rows.shape) == 2:
        # A mean must be exact: matrix units of accelerators round.
        return ops.sum(ops.expand_dims(weights, -1) * rows, axis=1)
    size = 1
    for n in rows.shape[1:]:
        size *= n
    flat = ops.matmul(weights, ops.reshape(rows, (-1, size)))
    return ops.reshape(flat, (-1, *rows.shape[1:]))


def deviation(weights, values, means):
    """Sum over the domains of weight * (value - mean): (N, C).

    Not value - mixed mean: weights add up to 1 but for rounding, which would
    be multiplied by the mean.
    """
    apart = ops.expand_dims(values, 1) - means
    return ops.sum(ops.expand_dims(weights, -1) * apart, axis=1)
