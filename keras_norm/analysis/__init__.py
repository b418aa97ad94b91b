"""What normalization does to signals and maps, computed on the host."""

from keras_norm.analysis.convolution import clip_convolution
from keras_norm.analysis.convolution import convolution_singular_values
from keras_norm.analysis.moments import LayerMoments
from keras_norm.analysis.moments import PropagatedMoments
from keras_norm.analysis.moments import propagate_moments
from keras_norm.analysis.monte_carlo_predict import MonteCarloPrediction
from keras_norm.analysis.monte_carlo_predict import monte_carlo_predict
from keras_norm.analysis.self_normalizing import self_normalizing_map

__all__ = [
    "LayerMoments",
    "MonteCarloPrediction",
    "PropagatedMoments",
    "clip_convolution",
    "convolution_singular_values",
    "monte_carlo_predict",
    "propagate_moments",
    "self_normalizing_map",
]
