"""Deconvolution of a dense layer: it whitens its input by its kernel.

Ye et al., 2020, https://arxiv.org/abs/1905.11926
"""

import math

import keras
from keras import ops

from keras_norm.core.deconvolution import Deconvolution
from keras_norm.core.linear import DenseLayer


@keras.saving.register_keras_serializable("keras_norm")
class DeconvolutionDense(Deconvolution, DenseLayer):
    """y = activation(kernel^T D (x - mean) + bias), D ~ (cov + epsilon I)^-1/2.

    D comes from `iterations` coupled Newton steps on the covariance divided by
    its Frobenius norm. It is folded into the kernel, D (x - mean) is never
    formed. The input is cut to consecutive blocks of `block` features, all of
    which share one mean and one D.

    Area: batch, all blocks. Operation: whiten (Newton). Recovery: the layer's
    own kernel. Statistics: the batch in training, moving averages of mean and
    D in inference.

    Args:
        units: number of outputs.
        activation: as in `keras.layers.Dense`.
        use_bias: add a learned `bias`.
        block: features whitened together. Where it does not divide the
            features, the greatest common divisor of the two is taken; where
            it exceeds them, all features.
        iterations: Newton steps; 5 whitens in part.
        momentum: fraction kept of the moving averages.
        epsilon: added to the diagonal of the covariance.
        synchronized: add up the statistics of all replicas.
        **kwargs: `kernel_...`, `bias_...`, `activity_regularizer`, `name`,
            `dtype` as in `keras.layers.Dense`.

    Call arguments:
        inputs: tensor (batch, ..., features).
        training: True uses and updates batch statistics.
        mask: refused.

    Raises:
        ValueError: units or a block below 1, a mask.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DeconvolutionDense(4)
    >>> x = np.random.normal(size=(32, 6)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (32, 4)

    Reference:

    - Ye et al., Network Deconvolution, ICLR 2020,
      https://arxiv.org/abs/1905.11926

    Note: as the authors' program does, all blocks share one mean and one
    matrix: with block=1 the whole input is standardized by two numbers, which
    is not batch normalization. Computed in float32 also under mixed precision.
    Weights: kernel, bias as `keras.layers.Dense`, whose saved weights load;
    moving_mean (block,), moving_matrix (1, block, block).
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        block=512,
        iterations=5,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            block=block,
            iterations=iterations,
            momentum=momentum,
            synchronized=synchronized,
            units=units,
            activation=activation,
            use_bias=use_bias,
            epsilon=epsilon,
            **kwargs,
        )

    def build_state(self, features):
        """A row is one block."""
        width = features
        if self.block < features:
            width = math.gcd(self.block, features)
        self.build_rows(1, width, features // width)

    def rows(self, x):
        """Blocks side by side become rows."""
        return ops.reshape(x, (-1, self.cut.width))

    def entries(self, kernel):
        """Entry f of block b is feature b * block + f."""
        shape = (self.blocks, self.cut.width, 1, self.units)
        return ops.transpose(ops.reshape(kernel, shape), (1, 0, 2, 3))

    def of_entries(self, entries):
        """Back to (features, units)."""
        kernel = ops.transpose(entries, (1, 0, 2, 3))
        return ops.reshape(kernel, (-1, self.units))

    def linear(self, x, kernel, training):
        """One matrix product."""
        return ops.matmul(x, kernel)
