"""Optimizers: steps on manifolds."""

from keras_norm.optimizers.cayley_adam import CayleyAdam
from keras_norm.optimizers.cayley_sgd import CayleySGD
from keras_norm.optimizers.riemannian import Riemannian

__all__ = [
    "CayleyAdam",
    "CayleySGD",
    "Riemannian",
]
