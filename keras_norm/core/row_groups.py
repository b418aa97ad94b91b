"""Rows of kernels in groups of equal size, of which the last is filled up."""

from keras import ops

from keras_norm import errors
from keras_norm.ops.matrix_roots import identity


class RowGroups:
    """Matrices (B, rows, columns) cut into groups of consecutive rows.

    Args:
        shape: shape of the matrices.
        size: rows of a group; the last may have less.
    """

    def __init__(self, shape, size):
        self.shape = tuple(shape)
        self.size = size
        self.count = -(-self.shape[1] // size)
        self.missing = self.count * size - self.shape[1]

    def cut(self, m):
        """(B, rows, columns) -> (B * groups, size, columns), zeros added."""
        if self.missing:
            m = ops.pad(m, [(0, 0), (0, self.missing), (0, 0)])
        return ops.reshape(m, (-1, self.size, self.shape[2]))

    def joined(self, m):
        """The inverse of `cut`."""
        batch, rows, columns = self.shape
        m = ops.reshape(m, (batch, self.count * self.size, columns))
        return m[:, :rows] if self.missing else m

    def filler(self, dtype):
        """What makes the gram matrix of a filled group regular, or None.

        (groups, size, size): 1 on the diagonal where rows are missing.
        """
        if not self.missing:
            return None
        index = ops.arange(self.count * self.size, dtype="int32")
        added = ops.cast(ops.greater_equal(index, self.shape[1]), dtype)
        added = ops.reshape(added, (self.count, self.size, 1))
        filler = added * identity(self.size, dtype)
        return ops.tile(filler, (self.shape[0], 1, 1))


def group_size(kernel, matrices, groups, size, largest):
    """Rows of a group, from what the user gave.

    Args:
        kernel: the kernel, for messages.
        matrices: shape (matrices, rows, columns).
        groups: number of groups, or None.
        size: rows of a group, or None.
        largest: most rows that can be orthonormal.
    """
    rows = matrices[1]
    if groups is not None and size is not None:
        raise errors.received(
            "Only one of `groups` and `group_size` may be given.",
            groups=groups,
            group_size=size,
        )
    if groups is not None:
        if rows % groups:
            raise errors.groups_must_divide(groups, rows)
        size = rows // groups
    if size is None:
        return min(rows, largest)
    size = min(size, rows)
    if size > largest:
        raise errors.received(
            f"A group of {kernel.path!r} has at most {largest} orthonormal "
            "rows: as many as a row has entries, one less when centred.",
            f"Use group_size={largest} or less.",
            group_size=size,
            kernel_shape=kernel.shape,
        )
    return size
