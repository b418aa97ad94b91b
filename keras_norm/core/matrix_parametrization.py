"""Parametrizations of kernels as matrices, perhaps in groups of their rows."""

from keras_norm.core import row_groups
from keras_norm.core.parametrization import WeightParametrization


class MatrixParametrization(WeightParametrization):
    """Base: a kernel is one matrix (outputs, fan-in), or several.

    Args:
        layer: the layer to wrap.
        split_gates: each gate of a recurrent layer by itself.
        per_conv_group: each group of a convolution by itself.
        **kwargs: see `WeightParametrization`.
    """

    def __init__(self, layer, split_gates=True, per_conv_group=False, **kwargs):
        super().__init__(layer, **kwargs)
        self.split_gates = split_gates
        self.per_conv_group = per_conv_group

    def parts(self, kernel):
        """Matrices that the outputs of a kernel are cut into."""
        parts = kernel.gates if self.split_gates else 1
        return parts * (kernel.groups if self.per_conv_group else 1)


class RowParametrization(MatrixParametrization):
    """Base: groups of rows that are made orthonormal by themselves.

    Args:
        layer: the layer to wrap.
        groups: number of groups, which must divide the outputs.
        group_size: rows of a group instead; the last may have less.
        **kwargs: see `MatrixParametrization`.
    """

    def __init__(self, layer, groups=None, group_size=None, **kwargs):
        super().__init__(layer, **kwargs)
        self.groups = groups
        self.group_size = group_size

    def most_rows(self, kernel, rows):
        """The most of `rows` that can be orthonormal."""
        return rows

    def cut(self, kernel):
        """How the matrices of a kernel are cut into groups."""
        shape = kernel.matrices_shape(self.parts(kernel))
        size = row_groups.group_size(
            kernel,
            shape,
            self.groups,
            self.group_size,
            self.most_rows(kernel, shape[1]),
        )
        return row_groups.RowGroups(shape, size)
