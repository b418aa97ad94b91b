"""Functions of tensors that the layers are made of, batched, differentiable."""

from keras_norm.ops.covariance import covariance
from keras_norm.ops.matrix_roots import inverse_square_root
from keras_norm.ops.moment_propagation import propagate_moments
from keras_norm.ops.power_iteration import power_iteration
from keras_norm.ops.sparsestmax import sparsestmax

__all__ = [
    "covariance",
    "inverse_square_root",
    "power_iteration",
    "propagate_moments",
    "sparsestmax",
]
