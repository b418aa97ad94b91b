"""Kernels of which nothing is known but the tensor.

Keras hands constraints and regularizers a variable without its layer, so the
user says which axes are output neurons; the last one otherwise.
"""

from keras_norm import errors
from keras_norm.core import kernels
from keras_norm.core.layer import one_integer


def checked_axis(axis):
    """`axis` as plain data: None, a name, an int or a list of ints."""
    if axis is None:
        return None
    if isinstance(axis, str):
        if axis not in kernels.OUTPUT_AXES:
            known = list(kernels.OUTPUT_AXES)
            raise errors.unknown_name("axis", axis, known)
        return axis
    if isinstance(axis, (list, tuple)):
        return [one_integer("axis", a) for a in axis]
    return one_integer("axis", axis)


def of_tensor(t, axis) -> kernels.Kernel:
    """A tensor as the kernel of a layer.

    Args:
        t: the tensor.
        axis: the output axes, as in `kernels.output_axes`; None is the last.
    """
    axes = kernels.output_axes(-1 if axis is None else axis, len(t.shape))
    return kernels.Kernel("the variable", None, "", t, "", axes)
