"""Small convolutional networks on maps: what layers over positions generate."""

import math

import keras
from keras import ops

from keras_norm import errors

CONVOLUTIONS = {
    1: keras.layers.Conv1D,
    2: keras.layers.Conv2D,
    3: keras.layers.Conv3D,
}


def spatial_axes(shape) -> int:
    """Number of spatial axes of inputs of that shape, at least one."""
    count = len(shape) - 2
    if count not in CONVOLUTIONS:
        raise errors.received(
            "The input must have one to three axes of positions, (batch, "
            "positions, channels).",
            input_shape=shape,
        )
    return count


def convolution(layer, name, inputs, filters, sizes, **options):
    """A convolution of channels-last maps, built.

    Args:
        layer: whose network it is.
        name: of the convolution.
        inputs: channels of the maps.
        filters: channels of the result.
        sizes: of the kernel, one for each spatial axis.
        **options: of Keras' layer.
    """
    # Wide, whatever the layer's policy: maps scale and shift the data.
    wide = "float64" if layer.compute_dtype == "float64" else "float32"
    made = CONVOLUTIONS[len(sizes)](
        filters,
        sizes,
        padding="same",
        data_format="channels_last",
        dtype=wide,
        name=name,
        **options,
    )
    made.build((None, *(None for _ in sizes), inputs))
    return made


def applied(network, t):
    """A layer's result in the dtype of its input."""
    return ops.cast(network(t), t.dtype)


def single(network, t):
    """The result of a convolution with one filter, without activation."""
    kernel = ops.cast(network.kernel, t.dtype)
    if keras.backend.backend() == "torch":
        # Its kernel for one sample has no gradient for one filter: it gets
        # another one, whose result is dropped.
        kernel = ops.concatenate([kernel, kernel], axis=-1)
    y = ops.conv(t, kernel, padding="same", data_format="channels_last")
    y = y[..., :1]
    return y if network.bias is None else y + ops.cast(network.bias, t.dtype)


def channels_of_map(name, shape, axis):
    """Known channels of a map, the second input `name`."""
    channels = shape[axis]
    if channels is None:
        raise errors.received(
            f"The channels of `{name}` must have a static size.",
            **{f"{name}_shape": shape},
        )
    return channels


def flattened(x):
    """(N, *spatial, C) -> (N, positions, C)."""
    shape = ops.shape(x)
    # Not -1, which an empty batch makes ambiguous.
    return ops.reshape(x, (shape[0], math.prod(shape[1:-1]), x.shape[-1]))
