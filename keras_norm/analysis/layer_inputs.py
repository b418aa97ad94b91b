"""What the kernels of a layer are multiplied by, as rows."""

import keras
import numpy as np
from keras import ops

from keras_norm.core.patches import Patches

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def is_linear(layer) -> bool:
    """Is there one matrix of inputs to outputs, for all positions?"""
    if isinstance(layer, CONVOLUTIONS):
        return layer.groups == 1
    return isinstance(layer, keras.layers.Dense)


def input_rows(layer, x) -> np.ndarray:
    """Inputs of a dense layer or patches of a convolution.

    Args:
        layer: for which `is_linear`.
        x: its input, NumPy.

    Returns:
        (samples and positions, entries of the kernel for one output).
    """
    x = np.asarray(x, "float32")
    if not isinstance(layer, CONVOLUTIONS):
        return np.reshape(x, (-1, x.shape[-1]))
    if layer.data_format == "channels_first":
        x = np.moveaxis(x, 1, -1)
    padding = layer.padding
    if padding == "causal":
        before = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        x = np.pad(x, [(0, 0), (before, 0), (0, 0)])
        padding = "valid"
    patches = Patches(
        layer.kernel_size, layer.strides, padding, layer.dilation_rate
    )
    seen = patches.of(patches.padded(ops.convert_to_tensor(x)))
    found = np.stack([ops.convert_to_numpy(t) for t in seen], axis=-2)
    return np.reshape(found, (-1, found.shape[-2] * found.shape[-1]))
