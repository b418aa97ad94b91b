"""Whitening and coloring batch normalization: a matrix in place of gamma.

Siarohin, Sangineto & Sebe, 2019, https://arxiv.org/abs/1806.00420
"""

import keras

from keras_norm.core import configuration
from keras_norm.core import matrix_operations as operations
from keras_norm.core.areas import Area
from keras_norm.core.coloring import Coloring
from keras_norm.core.layer import AFFINE
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage
from keras_norm.ops.matrix_roots import identity


@keras.saving.register_keras_serializable("keras_norm")
class TwiceRegularizedZCA(operations.ZCA):
    """ZCA of S + epsilon I, in which S has been regularized already."""

    def regularized(self, covariance, epsilon):
        """What is decomposed."""
        once = super().regularized(covariance, epsilon)
        return once + epsilon * identity(once.shape[-1], once.dtype)


@keras.saving.register_keras_serializable("keras_norm")
class WhiteningColoringBatchNormalization(ComposedNormalization):
    """y = W (x - mean) @ color + bias, W S W^T = I over all channels.

    S = (1 - epsilon) covariance + epsilon I = R R^T, the covariance unbiased;
    W = R^(-1). With `num_classes` a sample of class k is colored by color +
    class_color[k] and bias + class_bias[k]; with `num_bases` the class colors
    are sum_b class_code[k, b] color_basis[b]. At the start color is the
    identity and a class adds nothing.

    Area: batch. Operation: whiten (matrix). Recovery: coloring, conditional.
    Statistics: the batch in training, moving averages in inference, which is
    one matrix product; with classes one for each sample, or two where it has
    fewer positions than channels.

    Args:
        num_classes: the condition is an integer class, (N,) or (N, 1), or a
            soft assignment (N, num_classes). None: no condition.
        num_bases: number of matrices that the colors of the classes are made
            of; None: every class has its own.
        whitening: "cholesky", or "zca", W = (S + epsilon I)^(-1/2).
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: fraction of the identity in S.
        color_initializer: initializer of `color` (C, C).
        color_regularizer: regularizer of `color`.
        color_constraint: constraint of `color`.
        bias_initializer: initializer of `bias` (C,).
        bias_regularizer: regularizer of `bias`.
        bias_constraint: constraint of `bias`.
        use_bias: add a learned bias.
        synchronized: add up the statistics of all replicas.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, condition].
        condition: the classes, with `num_classes`.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes of the first input, the same
            for all channels.

    Raises:
        ValueError: no condition, or one without `num_classes`; an unknown
            `whitening`; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.WhiteningColoringBatchNormalization(num_classes=10)
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, np.array([0, 3, 3, 9])).shape)
    (4, 8, 8, 3)

    Reference:

    - Siarohin et al., Whitening and Coloring Batch Transform for GANs, ICLR
      2019, https://arxiv.org/abs/1806.00420

    Note: the state keeps the covariance before epsilon. "zca" adds epsilon a
    second time, as the authors' program does. Theirs starts the color like
    the kernel of a convolution (color_initializer="glorot_uniform").
    """

    fixed = AFFINE

    def __init__(
        self,
        num_classes=None,
        num_bases=None,
        whitening="cholesky",
        axis=-1,
        momentum=0.99,
        epsilon=1e-3,
        color_initializer="identity",
        color_regularizer=None,
        color_constraint=None,
        bias_initializer="zeros",
        bias_regularizer=None,
        bias_constraint=None,
        use_bias=True,
        synchronized=False,
        **kwargs,
    ):
        known = {
            "cholesky": operations.Cholesky,
            "zca": TwiceRegularizedZCA,
        }
        operations.named(whitening, known)
        recovery = Coloring(
            num_classes,
            num_bases,
            color_initializer,
            color_regularizer,
            color_constraint,
            use_bias,
            bias_initializer,
            bias_regularizer,
            bias_constraint,
        )
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=known[whitening](shrink=True, unbiased=True),
            statistics=MovingAverage(momentum),
            recovery=recovery,
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.whitening = whitening
        self.momentum, self.synchronized = float(momentum), synchronized
        for name in configuration.arguments(Coloring):
            setattr(self, name, getattr(recovery, name))

    def call(self, inputs, condition=None, training=None, mask=None):
        """The condition is the second argument, or second in a list."""
        return self.normalize(inputs, training, mask, condition)
