"""Functions on whole models."""

from keras_norm.tools.adapt_statistics import adapt_statistics
from keras_norm.tools.add_gamma_penalty import add_gamma_penalty
from keras_norm.tools.average_over_domains import average_over_domains
from keras_norm.tools.convert import Change
from keras_norm.tools.convert import ConversionReport
from keras_norm.tools.convert import convert
from keras_norm.tools.eval_normalize import eval_normalize
from keras_norm.tools.evaluate_candidates import Candidate
from keras_norm.tools.evaluate_candidates import CandidateRanking
from keras_norm.tools.evaluate_candidates import evaluate_candidates
from keras_norm.tools.example_weighing import example_weighing
from keras_norm.tools.fit_covariance_normalization import (
    fit_covariance_normalization,
)
from keras_norm.tools.fold import FoldChange
from keras_norm.tools.fold import FoldReport
from keras_norm.tools.fold import fold
from keras_norm.tools.freeze import FreezeChange
from keras_norm.tools.freeze import freeze
from keras_norm.tools.parametrizations import load_plain_weights
from keras_norm.tools.parametrizations import remove_parametrizations
from keras_norm.tools.parametrizations import reparameterize
from keras_norm.tools.prediction_time_statistics import (
    prediction_time_statistics,
)
from keras_norm.tools.prune import LayerPruning
from keras_norm.tools.prune import PruningReport
from keras_norm.tools.prune import mask_channels
from keras_norm.tools.prune import prune
from keras_norm.tools.quantize_batch_norm import FixedPointBatchNormalization
from keras_norm.tools.quantize_batch_norm import QuantizationReport
from keras_norm.tools.quantize_batch_norm import quantize_batch_norm
from keras_norm.tools.recompute_statistics import recompute_statistics
from keras_norm.tools.report import LayerReport
from keras_norm.tools.report import ModelReport
from keras_norm.tools.report import report
from keras_norm.tools.rescale_gamma import rescale_gamma

__all__ = [
    "Candidate",
    "CandidateRanking",
    "Change",
    "ConversionReport",
    "FixedPointBatchNormalization",
    "FoldChange",
    "FoldReport",
    "FreezeChange",
    "LayerPruning",
    "LayerReport",
    "ModelReport",
    "PruningReport",
    "QuantizationReport",
    "adapt_statistics",
    "add_gamma_penalty",
    "average_over_domains",
    "convert",
    "eval_normalize",
    "evaluate_candidates",
    "example_weighing",
    "fit_covariance_normalization",
    "fold",
    "freeze",
    "load_plain_weights",
    "mask_channels",
    "prediction_time_statistics",
    "prune",
    "quantize_batch_norm",
    "recompute_statistics",
    "remove_parametrizations",
    "reparameterize",
    "report",
    "rescale_gamma",
]
