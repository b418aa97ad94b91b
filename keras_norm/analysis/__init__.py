"""What normalization does to signals and maps, computed on the host."""

from keras_norm.analysis.calibration import Calibration
from keras_norm.analysis.calibration import calibration
from keras_norm.analysis.conditioning import Conditioning
from keras_norm.analysis.conditioning import LayerConditioning
from keras_norm.analysis.conditioning import conditioning
from keras_norm.analysis.convolution import clip_convolution
from keras_norm.analysis.convolution import convolution_singular_values
from keras_norm.analysis.curvature import curvature
from keras_norm.analysis.effective_rank import LayerRank
from keras_norm.analysis.effective_rank import LayerRanks
from keras_norm.analysis.effective_rank import effective_rank
from keras_norm.analysis.moments import LayerMoments
from keras_norm.analysis.moments import PropagatedMoments
from keras_norm.analysis.moments import propagate_moments
from keras_norm.analysis.monte_carlo_predict import MonteCarloPrediction
from keras_norm.analysis.monte_carlo_predict import monte_carlo_predict
from keras_norm.analysis.predictive_uncertainty import PredictiveUncertainty
from keras_norm.analysis.predictive_uncertainty import predictive_uncertainty
from keras_norm.analysis.scale_invariance import scale_invariance
from keras_norm.analysis.scaling import KernelInvariance
from keras_norm.analysis.scaling import ScaleInvariance
from keras_norm.analysis.self_normalizing import self_normalizing_map
from keras_norm.analysis.signal_propagation import LayerPropagation
from keras_norm.analysis.signal_propagation import SignalPropagation
from keras_norm.analysis.signal_propagation import signal_propagation
from keras_norm.analysis.spectral_density import Curvature
from keras_norm.analysis.stochastic_disturbance import StochasticDisturbance
from keras_norm.analysis.stochastic_disturbance import stochastic_disturbance

__all__ = [
    "Calibration",
    "Conditioning",
    "Curvature",
    "KernelInvariance",
    "LayerConditioning",
    "LayerMoments",
    "LayerPropagation",
    "LayerRank",
    "LayerRanks",
    "MonteCarloPrediction",
    "PredictiveUncertainty",
    "PropagatedMoments",
    "ScaleInvariance",
    "SignalPropagation",
    "StochasticDisturbance",
    "calibration",
    "clip_convolution",
    "conditioning",
    "convolution_singular_values",
    "curvature",
    "effective_rank",
    "monte_carlo_predict",
    "predictive_uncertainty",
    "propagate_moments",
    "scale_invariance",
    "self_normalizing_map",
    "signal_propagation",
    "stochastic_disturbance",
]
