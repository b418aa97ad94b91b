"""What normalization does to signals and maps, computed on the host."""

from keras_norm.analysis.convolution import clip_convolution
from keras_norm.analysis.convolution import convolution_singular_values
from keras_norm.analysis.moments import LayerMoments
from keras_norm.analysis.moments import PropagatedMoments
from keras_norm.analysis.moments import propagate_moments
from keras_norm.analysis.self_normalizing import self_normalizing_map

__all__ = [
    "LayerMoments",
    "PropagatedMoments",
    "clip_convolution",
    "convolution_singular_values",
    "propagate_moments",
    "self_normalizing_map",
]
