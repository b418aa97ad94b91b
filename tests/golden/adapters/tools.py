"""Functions on whole models: what each makes of a row's layers."""

import keras
import numpy as np

import keras_norm as kn

# Layers by the first word of what a case's kernel is said to be.
LAYERS = {
    "conv kernel OIHW": keras.layers.Conv2D,
    "conv_transpose kernel IOHW": keras.layers.Conv2DTranspose,
    "dense kernel (out,in)": keras.layers.Dense,
}


def fold(row, dtype):
    """Every kernel of a row with its batch normalization folded into it."""
    found = {}
    for name, role in row.parameters.items():
        if name.startswith("param_w"):
            found |= fold_case(row, name.removeprefix("param_w"), role, dtype)
    return found


def fold_case(row, suffix, role, dtype):
    """One of a row's cases, named by the suffix of its arrays."""
    arrays, dense = row.arrays, "dense" in role
    kernel = arrays[f"param_w{suffix}"]
    # Outputs last; of a transposed convolution they are last but one.
    order = (1, 0) if dense else (2, 3, 1, 0)
    cls = LAYERS[role.split(" (case")[0]]
    outputs = kernel.shape[1 if "transpose" in role else 0]
    options: dict = {"use_bias": row.config["conv_bias"], "dtype": dtype}
    if not dense:
        options |= {
            "kernel_size": kernel.shape[2:],
            "strides": row.config["stride"],
            "padding": {0: "valid"}[row.config["padding"]],
        }
    # The batch normalization and the inputs of another case, if none is own.
    own = suffix if f"gamma{suffix}" in arrays else ""
    x = arrays[f"x{own}"]
    x = x if dense else np.moveaxis(x, 1, -1)
    norm = keras.layers.BatchNormalization(epsilon=row.epsilon, dtype=dtype)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:], dtype=dtype),
            cls(outputs, **options),
            norm,
        ]
    )
    model.layers[0].kernel.assign(kernel.transpose(order).astype(dtype))
    model.layers[0].bias.assign(arrays[f"param_b{suffix}"].astype(dtype))
    norm.set_weights(
        [arrays[f"{n}{own}"] for n in ("gamma", "beta", "mean", "var")]
    )
    (layer,) = kn.tools.fold(model, strict=True).layers
    y = keras.ops.convert_to_numpy(layer(x.astype(dtype)))
    w, b = map(keras.ops.convert_to_numpy, (layer.kernel, layer.bias))
    return {
        f"y{suffix}": y if dense else np.moveaxis(y, -1, 1),
        f"fold_w{suffix}": w.transpose(np.argsort(order)),
        f"fold_b{suffix}": b,
    }


FUNCTIONS = {"tools.fold": fold}
