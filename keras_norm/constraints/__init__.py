"""Constraints: projections of kernels after a step of the optimizer."""

from keras_norm.constraints.centered_unit_norm import CenteredUnitNorm
from keras_norm.constraints.orthogonal import Orthogonal
from keras_norm.constraints.spectral_norm import SpectralNorm
from keras_norm.constraints.unit_norm import UnitNorm

__all__ = [
    "CenteredUnitNorm",
    "Orthogonal",
    "SpectralNorm",
    "UnitNorm",
]
