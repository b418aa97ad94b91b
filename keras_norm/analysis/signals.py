"""Mean and variance of independent entries, and what linear maps do to them.

A signal has a mean and a variance for each channel, the same at all positions:
of a convolution those away from the edges.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_norm import errors
from keras_norm.core import gaussian_moments
from keras_norm.core.parametrization import WeightParametrization
from keras_norm.layers.weights.normalization_propagation import (
    NormalizationPropagation,
)

DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
LINEAR = (
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    *DEPTHWISE,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Signal:
    """Moments of a tensor.

    Args:
        mean: () or (channels,).
        variance: as `mean`.
        shape: of the tensor, None where unknown.
        axis: its channel axis, counted from the last.
    """

    mean: Any
    variance: Any
    shape: tuple
    axis: int = -1

    def of(self, channels):
        """(mean, variance), each (channels,)."""
        return tuple(
            np.broadcast_to(t, (channels,)) for t in (self.mean, self.variance)
        )

    def changed(self, mean, variance, **changes):
        """The signal with other moments."""
        return dataclasses.replace(
            self, mean=mean, variance=variance, **changes
        )


def array(tensor):
    """A tensor as NumPy float64."""
    tensor = keras.ops.cast(keras.ops.convert_to_tensor(tensor), "float32")
    return np.asarray(keras.ops.convert_to_numpy(tensor), "float64")


def unknown(layer):
    """The error of a layer whose moments are not known."""
    return errors.received(
        "Every layer must be one whose moments are known: linear maps, "
        "elementwise activations, batch normalization.",
        "Propagate through a part of the model without it.",
        layer=layer.name,
        type=type(layer).__name__,
    )


def linear(layer, plain, signal):
    """Before the activation: sums of independent entries."""
    wrapped = isinstance(layer, WeightParametrization)
    w = array(layer.effective_kernel() if wrapped else plain.kernel)
    axis = -1
    if getattr(plain, "data_format", None) == "channels_first":
        axis = 1 - len(signal.shape)
    if np.ndim(signal.mean) and signal.axis != axis:
        raise unknown(layer)
    shape = tuple(plain.compute_output_shape(signal.shape))
    mean, variance = signal.of(signal.shape[axis])
    taps = tuple(range(w.ndim - 2))
    sums, squares = np.sum(w, axis=taps), np.sum(w**2, axis=taps)
    if isinstance(plain, DEPTHWISE):
        mean = np.ravel(mean[:, None] * sums)
        variance = np.ravel(variance[:, None] * squares)
    else:
        groups = getattr(plain, "groups", 1)
        mean = grouped(mean, sums, groups)
        variance = grouped(variance, squares, groups)
    if plain.bias is not None:
        mean = mean + array(plain.bias)
    return Signal(mean, variance, shape, axis)


def grouped(t, matrix, groups):
    """t @ matrix for each group of inputs and of outputs."""
    inputs = np.split(t, groups)
    columns = np.split(matrix, groups, axis=1)
    return np.concatenate([i @ c for i, c in zip(inputs, columns, strict=True)])


def finished(layer, plain, signal):
    """The activation of a linear layer, and what its wrappers add."""
    signal = activated(layer, plain.activation, signal)
    wrapper = layer
    found = []
    while isinstance(wrapper, WeightParametrization):
        found.append(wrapper)
        wrapper = wrapper.layer
    for wrapper in reversed(found):
        if isinstance(wrapper, NormalizationPropagation):
            mean = (signal.mean - wrapper.mean) / wrapper.deviation
            variance = signal.variance / wrapper.deviation**2
            signal = signal.changed(mean, variance)
    return signal


def activated(layer, activation, signal):
    """After an activation of Gaussian entries."""
    if activation is keras.activations.linear:
        return signal
    try:
        found = gaussian_moments.of(
            activation, signal.mean, np.sqrt(signal.variance)
        )
    except ValueError as error:
        raise unknown(layer) from error
    return signal.changed(np.asarray(found[0]), np.asarray(found[1]) ** 2)
