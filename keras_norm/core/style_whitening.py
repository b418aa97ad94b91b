"""Whitening of a content, coloring by a style: both sample by sample.

Neither has state, so that both factor covariances in every call. Few positions
or dependent channels make these singular, which each of the three methods
meets in its way.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import covariances
from keras_norm.core import moments
from keras_norm.core.layer import positive
from keras_norm.core.recoveries import Nothing
from keras_norm.core.style_recoveries import Style
from keras_norm.core.whitening import Whiten
from keras_norm.ops import matrix_roots
from keras_norm.ops import spectra


def check(method, threshold, iterations):
    """Refuse unknown methods and values that make no sense."""
    if method not in matrix_roots.METHODS:
        raise errors.unknown_name(
            "whitening", method, list(matrix_roots.METHODS)
        )
    if not threshold >= 0:
        raise errors.received(
            "`threshold` must not be negative.", threshold=threshold
        )
    positive("iterations", iterations)


def definite(s, threshold):
    """S + max(threshold, rounding of S) I."""
    eye = matrix_roots.identity(s.shape[-1], s.dtype)
    trace = ops.sum(s * eye, axis=(-2, -1), keepdims=True)
    least = ops.maximum(threshold, spectra.NOISE * ops.stop_gradient(trace))
    return s + least * eye


@keras.saving.register_keras_serializable("keras_norm")
class WhitenContent(Whiten):
    """y = W (x - mean), W W^T the (pseudo)inverse of the covariance.

    Args:
        method: "eigh": S^(-1/2) without eigenvalues below the threshold.
            "newton": (S + threshold I)^(-1/2) by coupled Newton steps.
            "cholesky": L^(-1), L L^T = S + threshold I.
        threshold: see above.
        iterations: steps of "newton".
    """

    def __init__(self, method="eigh", threshold=1e-5, iterations=20):
        super().__init__(unbiased=True)
        check(method, threshold, iterations)
        self.method, self.threshold = method, threshold
        self.iterations = iterations

    def matrix(self, covariance):
        """The whitening matrix of a covariance."""
        if self.method == "eigh":
            return spectra.truncated_inverse_square_root(
                covariance, self.threshold
            )
        covariance = definite(covariance, self.threshold)
        if self.method == "cholesky":
            return matrix_roots.inverse_cholesky(covariance)
        return matrix_roots.newton_roots(covariance, self.iterations)[1]


@keras.saving.register_keras_serializable("keras_norm")
class ColorByStyle(Nothing):
    """y = C x + mean(s), C C^T the covariance of another feature map s.

    Args:
        method: "eigh": C = S^(1/2) without eigenvalues below the threshold.
            "newton": (S + threshold I)^(1/2) by coupled Newton steps.
            "cholesky": L, L L^T = S + threshold I.
        threshold: see above.
        iterations: steps of "newton".
    """

    condition = "a feature map with the same channels"

    def __init__(self, method="eigh", threshold=1e-5, iterations=20):
        check(method, threshold, iterations)
        self.method, self.threshold = method, threshold
        self.iterations = iterations

    # No weights; the style must have the same channels.
    build = Style.build

    def matrix(self, covariance):
        """The coloring matrix of a covariance."""
        if self.method == "eigh":
            return spectra.truncated_square_root(covariance, self.threshold)
        covariance = definite(covariance, self.threshold)
        if self.method == "cholesky":
            return ops.cholesky(covariance)
        return matrix_roots.newton_roots(covariance, self.iterations)[0]

    def color(self, layer, blocks, groups, condition=None):
        """Multiply by the root of the style's covariance, add its mean.

        `condition` is the style, or (style, its mask).
        """
        style, mask = condition, None
        if isinstance(condition, (list, tuple)):
            style, mask = condition
        style = ops.cast(style, blocks.dtype)
        axis = layer.axis % len(style.shape)
        table = moments.measure(style, axis, mask)
        averages = layer.area.over(table)
        mean, data, weights = covariances.centred(table, averages, axis)
        covariance = covariances.measure(
            data, weights, averages, groups, unbiased=True
        )
        root = self.matrix(covariance)
        # y = x W^T C^T: the output index is last.
        blocks = ops.matmul(blocks, ops.swapaxes(root, -1, -2))
        return blocks, groups, None, averages.base + mean
