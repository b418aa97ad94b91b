"""What layers do to mean and variance of independent entries."""

import dataclasses
import math

import numpy as np
from keras import layers

from keras_norm import errors
from keras_norm.analysis.signals import LINEAR
from keras_norm.analysis.signals import Signal
from keras_norm.analysis.signals import activated
from keras_norm.analysis.signals import array
from keras_norm.analysis.signals import finished
from keras_norm.analysis.signals import linear
from keras_norm.analysis.signals import unknown
from keras_norm.core.parametrization import WeightParametrization
from keras_norm.layers.area.batch_normalization import BatchNormalization
from keras_norm.layers.weights.gaussian_poincare_activation import (
    GaussianPoincareActivation,
)

# At inference, away from edges, these change neither mean nor variance.
SAME = (
    layers.ActivityRegularization,
    layers.Dropout,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)
ACTIVATIONS = (
    layers.ELU,
    layers.LeakyReLU,
    layers.ReLU,
    GaussianPoincareActivation,
)
AVERAGES = (
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
GLOBAL_AVERAGES = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)


def through(layer, signals):
    """The signal that leaves a layer, of those that enter it."""
    signal = signals[0]
    plain = layer
    if isinstance(layer, WeightParametrization):
        plain = layer.plain_layer()
    if isinstance(layer, layers.Add):
        return added(layer, signals)
    if isinstance(layer, layers.Concatenate):
        return concatenated(layer, signals)
    if len(signals) > 1:
        raise unknown(layer)
    if isinstance(plain, LINEAR):
        return finished(layer, plain, linear(layer, plain, signal))
    shape = tuple(layer.compute_output_shape(signal.shape))
    if isinstance(layer, SAME):
        return dataclasses.replace(signal, shape=shape)
    if isinstance(layer, layers.Activation):
        return activated(layer, layer.activation, signal)
    if isinstance(layer, ACTIVATIONS):
        return activated(layer, layer, signal)
    if isinstance(layer, (layers.BatchNormalization, BatchNormalization)):
        return normalized(layer, signal)
    if isinstance(layer, layers.Flatten):
        return flattened(layer, signal, shape)
    if isinstance(layer, (*AVERAGES, *GLOBAL_AVERAGES)):
        return averaged(layer, signal, shape)
    raise unknown(layer)


def normalized(layer, signal):
    """Batch normalization with its moving statistics."""
    if len(np.atleast_1d(layer.axis)) > 1:
        raise unknown(layer)
    axis = layer.axis % len(signal.shape) - len(signal.shape)
    if np.ndim(signal.mean) and signal.axis != axis:
        raise unknown(layer)
    rate = 1 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        rate = rate * array(layer.gamma)
    mean, variance = signal.of(len(rate))
    mean = (mean - array(layer.moving_mean)) * rate
    if layer.center:
        mean = mean + array(layer.beta)
    return signal.changed(mean, variance * rate**2, axis=axis)


def flattened(layer, signal, shape):
    """Positions become features."""
    if shape[-1] is None or np.ndim(signal.mean) == 0:
        if np.ndim(signal.mean):
            raise errors.received(
                "Sizes must be known where a model flattens.",
                layer=layer.name,
                shape=signal.shape,
            )
        return dataclasses.replace(signal, shape=shape, axis=-1)
    rank = len(signal.shape)
    sizes = [1] * (rank - 1)
    sizes[signal.axis] = -1
    whole = [
        np.broadcast_to(np.reshape(t, sizes), signal.shape[1:])
        for t in (signal.mean, signal.variance)
    ]
    if layer.data_format == "channels_first" and rank > 2:
        # Keras brings the channels to the end.
        whole = [np.moveaxis(t, 0, -1) for t in whole]
    return Signal(whole[0].ravel(), whole[1].ravel(), shape)


def averaged(layer, signal, shape):
    """Means over independent positions."""
    if isinstance(layer, GLOBAL_AVERAGES):
        first = layer.data_format == "channels_first"
        sizes = signal.shape[2:] if first else signal.shape[1:-1]
        if None in sizes:
            raise errors.received(
                "Sizes must be known where a model averages over all "
                "positions.",
                layer=layer.name,
                shape=signal.shape,
            )
        # One axis is left, unless keepdims is set.
        axis = signal.axis if len(shape) == len(signal.shape) else -1
    else:
        sizes, axis = np.atleast_1d(layer.pool_size), signal.axis
        sizes = np.broadcast_to(sizes, len(signal.shape) - 2).tolist()
    return signal.changed(
        signal.mean, signal.variance / math.prod(sizes), shape=shape, axis=axis
    )


def added(layer, signals):
    """The sum of independent entries."""
    axes = {s.axis for s in signals if np.ndim(s.mean)}
    if len({s.shape for s in signals}) > 1 or len(axes) > 1:
        raise unknown(layer)
    return Signal(
        np.sum(np.broadcast_arrays(*(s.mean for s in signals)), axis=0),
        np.sum(np.broadcast_arrays(*(s.variance for s in signals)), axis=0),
        signals[0].shape,
        *axes,
    )


def concatenated(layer, signals):
    """Channels side by side; along other axes they must be alike."""
    rank = len(signals[0].shape)
    axis = layer.axis % rank - rank
    shape = tuple(layer.compute_output_shape([s.shape for s in signals]))
    if any(s.axis != axis and np.ndim(s.mean) for s in signals):
        raise unknown(layer)
    parts = [s.of(s.shape[axis]) for s in signals]
    return Signal(
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        shape,
        axis,
    )
