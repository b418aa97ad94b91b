"""What normalization layers are at inference: y = scale * x + shift.

For each channel, in float64 on the host.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_norm.core.areas import Area
from keras_norm.core.frozen import Frozen
from keras_norm.core.frozen import FrozenAffine
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.memory import Memory
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.recoveries import Affine
from keras_norm.core.recoveries import Nothing
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.stochastic import Stochastic
from keras_norm.models.conversion_report import Kept
from keras_norm.models.model_layers import regular

# Steps of inference: a layer with one of its own may do anything.
STEPS = ("call", "normalize", "transform", "finish")


class AffineMap(NamedTuple):
    """y = scale * x + shift, an entry of both for each channel.

    Attributes:
        scale: (C,), float64.
        shift: (C,), float64.
        axis: of the channels.
    """

    scale: np.ndarray
    shift: np.ndarray
    axis: int


def is_batch_like(layer) -> bool:
    """Is it batch normalization, or a layer that keeps statistics as it?"""
    kept = isinstance(layer, ComposedNormalization) and not layer.measures(
        False
    )
    return kept or isinstance(layer, keras.layers.BatchNormalization)


def affine_map(layer) -> AffineMap:
    """The map that a built layer computes at inference.

    Batch normalization of Keras, and layers of this package that are one
    scale-and-shift by what they keep.

    Raises:
        Kept: why there is none, or none that is known.
    """
    if type(layer) is keras.layers.BatchNormalization:
        return of_keras(layer)
    if isinstance(layer, keras.layers.BatchNormalization):
        raise Kept(
            "it is a subclass of BatchNormalization and may compute something "
            "else"
        )
    if not isinstance(layer, NormalizationLayer):
        raise Kept("it is no batch normalization")
    if not is_batch_like(layer):
        raise Kept("at inference its statistics are those of the input")
    if getattr(layer.operation, "family", None) == "matrix":
        raise Kept("at inference it mixes the channels")
    plain = (
        regular(layer, STEPS)
        and type(layer.area).normalize is Area.normalize
        and isinstance(layer.statistics, (MovingAverage, Frozen, Memory))
        and type(layer.recovery) in (Affine, FrozenAffine, Nothing)
        and not drawn(layer.statistics)
    )
    if not plain:
        raise Kept(
            "at inference it is not known to be one scale-and-shift for each "
            "channel"
        )
    return of_composed(layer)


def is_scale_and_shift(layer) -> bool:
    """Is it Keras' batch normalization, or a layer with such a map?"""
    if isinstance(layer, keras.layers.BatchNormalization):
        return True
    try:
        return layer.built and affine_map(layer) is not None
    except Kept:
        return False


def drawn(statistics) -> bool:
    """Does inference draw its statistics?"""
    kept = getattr(statistics, "inference", "moving")
    return isinstance(statistics, Stochastic) and kept != "moving"


def of_keras(layer) -> AffineMap:
    """gamma / sqrt(moving_variance + epsilon), beta - moving_mean * scale."""
    scale = 1.0 / np.sqrt(wide(layer.moving_variance) + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * wide(layer.gamma)
    shift = -wide(layer.moving_mean) * scale
    if layer.beta is not None:
        shift = shift + wide(layer.beta)
    return AffineMap(scale, shift, layer.axis)


def of_composed(layer) -> AffineMap:
    """What the layer's own steps make of zeros."""
    zeros = ops.zeros((1, layer.channels), "float32")
    moved, rate, offset = layer.inference_factors(zeros, lambda t: t)
    scale, offset = layer.recovery.fold(layer, rate, offset)
    scale, moved, offset = wide(scale), wide(moved), wide(offset)
    if len(scale) != 1:
        raise Kept("it has statistics of several domains")
    return AffineMap(scale[0], (moved * scale + offset)[0], layer.axis)


def wide(value) -> np.ndarray:
    """A variable or tensor in float64."""
    return ops.convert_to_numpy(value).astype("float64")
