"""Functions on whole models."""

from keras_norm.tools.adapt_statistics import adapt_statistics
from keras_norm.tools.average_over_domains import average_over_domains
from keras_norm.tools.convert import Change
from keras_norm.tools.convert import ConversionReport
from keras_norm.tools.convert import convert
from keras_norm.tools.eval_normalize import eval_normalize
from keras_norm.tools.example_weighing import example_weighing
from keras_norm.tools.fit_covariance_normalization import (
    fit_covariance_normalization,
)
from keras_norm.tools.freeze import FreezeChange
from keras_norm.tools.freeze import freeze
from keras_norm.tools.parametrizations import load_plain_weights
from keras_norm.tools.parametrizations import remove_parametrizations
from keras_norm.tools.parametrizations import reparameterize
from keras_norm.tools.prediction_time_statistics import (
    prediction_time_statistics,
)
from keras_norm.tools.recompute_statistics import recompute_statistics
from keras_norm.tools.report import LayerReport
from keras_norm.tools.report import ModelReport
from keras_norm.tools.report import report

__all__ = [
    "Change",
    "ConversionReport",
    "FreezeChange",
    "LayerReport",
    "ModelReport",
    "adapt_statistics",
    "average_over_domains",
    "convert",
    "eval_normalize",
    "example_weighing",
    "fit_covariance_normalization",
    "freeze",
    "load_plain_weights",
    "prediction_time_statistics",
    "recompute_statistics",
    "remove_parametrizations",
    "reparameterize",
    "report",
]
