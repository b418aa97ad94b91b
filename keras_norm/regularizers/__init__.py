"""Regularizers: penalties of kernels and activations."""

from keras_norm.regularizers.decorrelation import Decorrelation
from keras_norm.regularizers.mutual_coherence import MutualCoherence
from keras_norm.regularizers.off_diagonal_orthogonal import (
    OffDiagonalOrthogonal,
)
from keras_norm.regularizers.soft_orthogonal import SoftOrthogonal
from keras_norm.regularizers.spectral_restricted_isometry import (
    SpectralRestrictedIsometry,
)

__all__ = [
    "Decorrelation",
    "MutualCoherence",
    "OffDiagonalOrthogonal",
    "SoftOrthogonal",
    "SpectralRestrictedIsometry",
]
