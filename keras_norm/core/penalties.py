"""What the regularizers share: their factor, and kernels as matrices."""

import math
import numbers

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import variable_kernels
from keras_norm.ops.matrix_roots import identity
from keras_norm.ops.matrix_roots import widened


def checked_factor(factor):
    """A finite number >= 0 as a float; a scalar variable as it is."""
    number = isinstance(factor, numbers.Real)
    if number and not isinstance(factor, bool):
        if math.isfinite(factor) and factor >= 0:
            return float(factor)
    elif not number and getattr(factor, "shape", None) == ():
        return factor
    raise errors.received(
        "`factor` must be a finite number of at least 0, or a scalar variable.",
        factor=factor,
    )


def off_identity(s):
    """S - I of square matrices."""
    return s - identity(s.shape[-1], s.dtype)


def off_diagonal_square(s):
    """Sum of the squares of all entries but those of the diagonal."""
    return ops.sum(ops.square(s * (1.0 - identity(s.shape[-1], s.dtype))))


class Penalty(keras.regularizers.Regularizer):
    """Base of regularizers: factor times `penalty`, in at least float32.

    Args:
        factor: a number, or a scalar variable where it shall change during
            training; its value is what a config keeps.
    """

    def __init__(self, factor):
        self.factor = checked_factor(factor)

    def penalty(self, x):
        """The penalty without the factor, a scalar.

        Args:
            x: the tensor in at least float32.
        """
        raise NotImplementedError

    def __call__(self, x):
        value = self.penalty(widened(x))
        factor = self.factor
        if not isinstance(factor, float):
            factor = ops.cast(factor, value.dtype)
        return factor * value

    def get_config(self):
        factor = self.factor
        if not isinstance(factor, float):
            factor = float(ops.convert_to_numpy(factor))
        return {"factor": factor}


class MatrixPenalty(Penalty):
    """Base of penalties of a kernel as a matrix (outputs, fan-in).

    Variables whose output neurons have a single weight, as biases, cost
    nothing.

    Args:
        factor: as in `Penalty`.
        axis: axis or axes of the output neurons, or a name of
            `keras_norm.core.kernels.OUTPUT_AXES`; None: the last axis.
    """

    def __init__(self, factor, axis=None):
        super().__init__(factor)
        self.axis = variable_kernels.checked_axis(axis)

    def of_matrices(self, m):
        """The penalty of matrices (1, outputs, fan-in)."""
        raise NotImplementedError

    def penalty(self, x):
        rank = len(x.shape)
        if rank > 1:
            kernel = variable_kernels.of_tensor(x, self.axis)
            if kernel.reduced:
                return self.of_matrices(kernel.matrices(x))
        # Depends on x, so that there is a gradient.
        return ops.sum(0.0 * x)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}
