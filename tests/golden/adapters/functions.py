"""Functions of tensors: from a row and a dtype to {array: array}.

Kernels are stored with the output neurons first and are brought to Keras'
layout.
"""

import keras
import numpy as np

import keras_norm as kn
from functions import Primitive
from golden.adapters.analysis import FUNCTIONS as ANALYSIS
from golden.adapters.tools import FUNCTIONS as TOOLS
from gradients import gradients

KERNELS = ("conv kernel OI", "dense kernel (out,in)", "bias")


def kernel_order(row, name):
    """Permutation of the axes of a parameter that gives Keras' layout."""
    role = row.parameters[name]
    if not role.startswith(KERNELS):
        raise KeyError(f"{row}: what is {name}? {role!r}")
    rank = len(row.shapes[name])
    return (*range(2, rank), 1, 0) if rank > 1 else (0,)


def as_keras(row, name, dtype):
    """A parameter in Keras' layout."""
    return row.arrays[name].transpose(kernel_order(row, name)).astype(dtype)


def slope(row, name, dtype, penalty):
    """Gradient of a regularizer at a parameter, in the row's layout."""
    layer = Primitive(penalty)
    inputs = [[as_keras(row, name, dtype)]]
    found = gradients(layer, inputs, np.ones(()), dtype=dtype)
    return found.inputs[0][0].transpose(np.argsort(kernel_order(row, name)))


def off_diagonal_orthogonal(row, dtype):
    """The program adds half of the gradient of its strength's penalty."""
    factor = row.config["strength"] / 2
    penalties = {
        "grad_ortho": kn.regularizers.OffDiagonalOrthogonal(factor),
        "grad_default_ortho": kn.regularizers.SoftOrthogonal(factor),
    }
    return {
        f"{stem}_{name.removeprefix('param_')}": slope(
            row, name, dtype, penalty
        )
        for stem, penalty in penalties.items()
        for name in row.parameters
    }


def spectral_restricted_isometry(row, dtype):
    """From the program's start vector; the gradient is only its own."""
    (name,) = row.parameters
    order = kernel_order(row, name)
    start = row.arrays["u0"].astype(dtype)
    if row.config["gram"] == "columns":
        # Entries of an output neuron, in the order of Keras' kernel.
        inner = np.delete(row.shapes[name], 0)
        start = start.reshape(inner).transpose(np.array(order[:-1]) - 1)

    class Started(kn.regularizers.SpectralRestrictedIsometry):
        def start(self, size, dtype):
            return keras.ops.reshape(
                keras.ops.convert_to_tensor(start, dtype), (size,)
            )

    def value(**changed):
        arguments = {
            "factor": row.config["strength"],
            "power_iterations": row.config["power_iterations"],
            "gram": row.config["gram"],
            "squared": row.config["squared"],
        }
        penalty = Started(**{**arguments, **changed})
        w = keras.ops.convert_to_tensor(as_keras(row, name, dtype), dtype)
        return keras.ops.convert_to_numpy(penalty(w))

    return {
        "y": value(),
        "sigma_true": value(factor=1, power_iterations=200, squared=False),
    }


def sparsestmax(row, dtype):
    """Value and gradient, a radius for each row of logits."""
    radius = row.arrays["radius"].astype(dtype)
    layer = Primitive(lambda x: kn.ops.sparsestmax(x, radius))
    inputs = [[row.arrays["x"].astype(dtype)]]
    found = gradients(layer, inputs, row.arrays["dy"], dtype=dtype)
    return {"y": found.outputs, "dx": found.inputs[0][0]}


def centralize(row, dtype):
    """Gradients without a program's optimizer, output neurons first."""
    rules = {
        "y_all": kn.optimizers.centralize(),
        "y_convonly": kn.optimizers.centralize(conv_only=True),
    }
    found = {}
    for name in row.inputs:
        g = keras.ops.convert_to_tensor(row.arrays[name].astype(dtype))
        for stem, rule in rules.items():
            y = keras.ops.convert_to_numpy(rule(g, axis=_first(g)))
            found[name.replace("grad", stem)] = y
    return found


def adaptive_clip(row, dtype):
    """Clipped gradients, output neurons first."""
    rule = kn.optimizers.adaptive_clip(row.config["clip_factor"], row.epsilon)
    found = {}
    for name in row.inputs:
        number = name.removeprefix("grad_")
        g, w = (
            keras.ops.convert_to_tensor(row.arrays[n].astype(dtype))
            for n in (name, f"param_{number}")
        )
        y = rule(g, w, axis=_first(g))
        found[f"y_{number}"] = keras.ops.convert_to_numpy(y)
    return found


def _first(tensor):
    """The first axis but of vectors, which have no units."""
    return 0 if len(tensor.shape) > 1 else None


OWN = {
    "optimizers.adaptive_clip": adaptive_clip,
    "optimizers.centralize": centralize,
    "regularizers.OffDiagonalOrthogonal": off_diagonal_orthogonal,
    "regularizers.SpectralRestrictedIsometry": spectral_restricted_isometry,
    "ops.sparsestmax": sparsestmax,
}

# {method: f(row, dtype)}
FUNCTIONS = {**OWN, **ANALYSIS, **TOOLS}
