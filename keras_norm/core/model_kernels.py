"""The kernels of a model: its trained weights that are matrices or more."""

from keras_norm.core import kernels
from keras_norm.core import variable_kernels


def of_model(model) -> list:
    """(variable, its kernel) of the trained weights of at least two axes.

    The table says which axes are output neurons; of other layers the last.
    """
    table = {}
    for layer in model._flatten_layers():
        if kernels.known(layer):
            for kernel in kernels.of(layer):
                table[id(kernel.value)] = kernel
    return [
        (v, table.get(id(v)) or variable_kernels.of_tensor(v, None))
        for v in trained(model)
        if len(v.shape) > 1
    ]


def trained(model) -> list:
    """Trainable weights without state that has its own "gradient"."""
    return [
        v
        for v in model.trainable_variables
        if not getattr(v, "overwrite_with_gradient", False)
    ]
