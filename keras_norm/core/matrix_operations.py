"""The matrix operations by name: how the matrix comes from the covariance."""

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.core.whitening import Whiten
from keras_norm.ops import matrix_roots
from keras_norm.ops import spectra

# A pivot of the Cholesky factorization must exceed the rounding of those
# before it: this times d times the resolution of a rank-one covariance (four
# times are seen, at d = 256 and 512).
PIVOT = 8.0
TINY = 1e-30


@keras.saving.register_keras_serializable("keras_norm")
class Newton(Whiten):
    """y = W (x - mean), W ~ S^(-1/2) by Newton steps, matrix products only.

    Args:
        group_size: channels whitened together; None: all.
        iterations: Newton steps; 5 whitens in part (the authors' choice),
            about 20 completely.
        running: see `Whiten`.
        shrink: see `Whiten`.
        unbiased: see `Whiten`.
    """

    def __init__(
        self,
        group_size=64,
        iterations=5,
        running="matrix",
        shrink=False,
        unbiased=False,
    ):
        super().__init__(group_size, running, shrink, unbiased)
        positive("iterations", iterations, 0)
        self.iterations = iterations

    def matrix(self, covariance):
        """The whitening matrix of a covariance."""
        return matrix_roots.newton_roots(covariance, self.iterations)[1]


@keras.saving.register_keras_serializable("keras_norm")
class ZCA(Whiten):
    """y = U L^(-1/2) U^T (x - mean), S = U L U^T: stays nearest to x."""

    def filling(self, variances):
        """As large as the rest, which it leaves as it is."""
        return variances

    def matrix(self, covariance):
        """The symmetric inverse square root."""
        return spectra.inverse_square_root(covariance)


@keras.saving.register_keras_serializable("keras_norm")
class PCA(Whiten):
    """y = L^(-1/2) U^T (x - mean): principal axes, the largest first."""

    def matrix(self, covariance):
        """Scaled eigenvectors as rows."""
        return spectra.principal_axes(covariance)

    def filling(self, variances):
        """Less than every eigenvalue: its rows are the last."""
        return -variances


@keras.saving.register_keras_serializable("keras_norm")
class Decorrelate(Whiten):
    """y = U^T (x - mean): rotated to the principal axes, nothing scaled."""

    def matrix(self, covariance):
        """Eigenvectors as rows."""
        return spectra.principal_axes(covariance, scaled=False)

    def filling(self, variances):
        """Less than every eigenvalue: its rows are the last."""
        return -variances


@keras.saving.register_keras_serializable("keras_norm")
class Cholesky(Whiten):
    """y = L^(-1) (x - mean), S = L L^T: each channel less those before it.

    Where epsilon is lost beside large variances they are raised by what the
    factorization needs to exist, d 2^-20 of themselves in float32.
    """

    def matrix(self, covariance):
        """The inverse of the lower factor."""
        return matrix_roots.inverse_cholesky(covariance)

    def filling(self, variances):
        """As large as the rest."""
        return variances

    def regularized(self, covariance, epsilon):
        """What is decomposed, positive definite in spite of rounding."""
        d, dtype = covariance.shape[-1], covariance.dtype
        precision = np.finfo(keras.backend.standardize_dtype(dtype)).eps
        eye = matrix_roots.identity(d, dtype)
        variances = ops.stop_gradient(covariance) * eye
        least = ops.maximum(PIVOT * d * float(precision) * variances, TINY)
        added = eye * ops.maximum(epsilon, least)
        kept = 1.0 - epsilon if self.shrink else 1.0
        return kept * covariance + added


# Operations by the names that layers know them by.
WHITENINGS = {
    "zca": ZCA,
    "pca": PCA,
    "cholesky": Cholesky,
    "decorrelate": Decorrelate,
    "iterative": Newton,
}


def named(whitening, allowed, group_size=None, iterations=5, **options):
    """The operation of a name.

    Args:
        whitening: the name, the layer's argument.
        allowed: names that the layer takes.
        group_size: see `Whiten`.
        iterations: of "iterative".
        **options: see `Whiten`.
    """
    if whitening not in allowed:
        raise errors.unknown_name("whitening", whitening, list(allowed))
    positive("iterations", iterations, 0)
    if whitening == "iterative":
        return Newton(group_size, iterations, **options)
    return WHITENINGS[whitening](group_size, **options)
