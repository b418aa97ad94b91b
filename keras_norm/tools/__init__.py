"""Functions on whole models."""

from keras_norm.tools.parametrizations import load_plain_weights
from keras_norm.tools.parametrizations import remove_parametrizations
from keras_norm.tools.parametrizations import reparameterize

__all__ = [
    "load_plain_weights",
    "remove_parametrizations",
    "reparameterize",
]
