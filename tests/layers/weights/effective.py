"""Effective kernels and their gradients."""

from collections import namedtuple

import keras
import numpy as np

from gradients import gradients
from gradients import weight_name

# Keras' kernels of `kinds` by the letters of `oracles.weights`.
LABELS = {
    "dense": {"kernel": "ro"},
    "einsum": {"kernel": "roo"},
    "einsum of blocks": {"kernel": "bro"},
    "conv2d": {"kernel": "rrro"},
    "grouped": {"kernel": "rro"},
    "transposed": {"kernel": "rror"},
    "depthwise": {"kernel": "rroo"},
    "separable": {"depthwise_kernel": "rroo", "pointwise_kernel": "rrro"},
    "embedding": {"embeddings": "or"},
    "lstm": {"kernel": "ro", "recurrent_kernel": "ro"},
}

Effective = namedtuple("Effective", "kernels kernel_gradients scale_gradients")


class EffectiveKernels(keras.layers.Layer):
    """The effective kernels of a wrapper, as the outputs of a call."""

    def __init__(self, wrapper):
        super().__init__(dtype=wrapper.dtype, autocast=False)
        self.wrapper = wrapper
        self.built = True

    def call(self, inputs, training=None):
        """A list of kernels; the input is not used."""
        zero = 0.0 * keras.ops.sum(inputs)
        kernels = self.wrapper.effective_kernels(training).values()
        return [w + keras.ops.cast(zero, w.dtype) for w in kernels]


def effective(wrapper, upstream, training=False):
    """Effective kernels of a built wrapper, and gradients.

    Args:
        wrapper: the wrapper.
        upstream: an array for each kernel.
        training: advance the state.

    Returns:
        {path: array} of effective kernels, of derivatives of
        sum(kernel * upstream) by the free kernels, and by the scales.
    """
    layer = EffectiveKernels(wrapper)
    kernels = wrapper.kernels()
    found = gradients(
        layer,
        [np.zeros(1)],
        list(upstream),
        training=training,
        jit=keras.backend.backend() == "jax",
        dtype=wrapper.dtype,
    )
    by_kernel, by_scale = {}, {}
    for kernel in kernels:
        name = weight_name(layer, kernel.value)
        by_kernel[kernel.path] = found.weights[name]
        scale = wrapper.scale_of(kernel)
        if scale is not None and scale.trainable:
            by_scale[kernel.path] = found.weights[weight_name(layer, scale)]
    paths = [kernel.path for kernel in kernels]
    return Effective(
        dict(zip(paths, found.outputs, strict=True)), by_kernel, by_scale
    )


def arrays(wrapper):
    """{path: free kernel as a float64 array}."""
    return {
        kernel.path: array(kernel.value).astype("float64")
        for kernel in wrapper.kernels()
    }


def array(tensor):
    """A NumPy array."""
    return np.array(keras.ops.convert_to_numpy(tensor))
