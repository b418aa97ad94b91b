"""Optimizers: steps on manifolds, normalized gradients, trust ratios."""

from keras_norm.optimizers.adaptive_clip import adaptive_clip
from keras_norm.optimizers.block_normalize import block_normalize
from keras_norm.optimizers.cayley_adam import CayleyAdam
from keras_norm.optimizers.cayley_sgd import CayleySGD
from keras_norm.optimizers.centralize import centralize
from keras_norm.optimizers.exponential_schedule import (
    equivalent_exponential_schedule,
)
from keras_norm.optimizers.gradient_transform import GradientTransform
from keras_norm.optimizers.lamb import LAMB
from keras_norm.optimizers.lars import LARS
from keras_norm.optimizers.proximal_l1 import ProximalL1
from keras_norm.optimizers.riemannian import Riemannian
from keras_norm.optimizers.wngrad import WNGrad

__all__ = [
    "CayleyAdam",
    "CayleySGD",
    "GradientTransform",
    "LAMB",
    "LARS",
    "ProximalL1",
    "Riemannian",
    "WNGrad",
    "adaptive_clip",
    "block_normalize",
    "centralize",
    "equivalent_exponential_schedule",
]
