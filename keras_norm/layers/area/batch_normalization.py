"""Batch normalization: statistics per channel over batch and positions.

Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize
from keras_norm.core.renorm import Renorm
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class BatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta per channel.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    batch in training, moving averages in inference.

    A drop-in for `keras.layers.BatchNormalization`: its arguments in its order,
    its weights in its order, its files. Unlike it, statistics are exact at any
    mean, a batch in which nothing is seen leaves the state alone, masks may
    have any rank, and `synchronized` works wherever the runtime can reduce.

    Args:
        axis: channel axis; 1 for channels-first data.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        center: add `beta`.
        scale: multiply by `gamma`.
        beta_initializer: initializer of `beta` (C,).
        gamma_initializer: initializer of `gamma` (C,).
        moving_mean_initializer: initializer of `moving_mean` (C,).
        moving_variance_initializer: initializer of `moving_variance` (C,).
        beta_regularizer: regularizer of `beta`.
        gamma_regularizer: regularizer of `gamma`.
        beta_constraint: constraint of `beta`.
        gamma_constraint: constraint of `gamma`.
        renorm: batch renormalization (Ioffe, 2017) with Keras' five weights.
        renorm_clipping: {"rmin", "rmax", "dmax"}, all optional.
        renorm_momentum: fraction kept of the statistics renorm trains with.
        synchronized: add up the statistics of all replicas. With no runtime
            active it is plain batch statistics.
        unbiased_moving_variance: store the variance divided by m - 1, as
            PyTorch does; Keras (and the default) stores the biased one.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics, unless the layer is
            frozen by `trainable=False`.
        mask: weights of rank 1 to the rank of the input, aligned to its
            leading axes.

    Raises:
        ValueError: an axis outside the input, an unknown channel size, a
            momentum outside [0, 1], renorm clipping that contradicts itself.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchNormalization()
    >>> x = 1e4 + np.random.normal(size=(64, 8)).astype("float32")
    >>> y = layer(x, training=True)
    >>> tuple(y.shape)
    (64, 8)

    Reference:

    - Ioffe & Szegedy, Batch Normalization, ICML 2015,
      https://arxiv.org/abs/1502.03167
    - Ioffe, Batch Renormalization, NeurIPS 2017,
      https://arxiv.org/abs/1702.03275

    Note: the paper's population variance is the unbiased one; see
    `unbiased_moving_variance`. A batch of one entry per channel gives beta.
    """

    beyond_keras = ("unbiased_moving_variance",)

    def __init__(
        self,
        axis=-1,
        momentum=0.99,
        epsilon=1e-3,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        moving_mean_initializer="zeros",
        moving_variance_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        renorm=False,
        renorm_clipping=None,
        renorm_momentum=0.99,
        synchronized=False,
        unbiased_moving_variance=False,
        **kwargs,
    ):
        initializers = {
            "mean": keras.initializers.get(moving_mean_initializer),
            "variance": keras.initializers.get(moving_variance_initializer),
        }
        statistics: MovingAverage
        if renorm:
            statistics = Renorm(
                momentum,
                renorm_momentum,
                renorm_clipping,
                unbiased_moving_variance,
                initializers,
            )
        else:
            statistics = MovingAverage(
                momentum, unbiased_moving_variance, initializers
            )
        super().__init__(
            area=Area("all", "each", synchronized=synchronized),
            operation=Standardize(),
            statistics=statistics,
            axis=axis,
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        self.momentum = statistics.momentum
        self.moving_mean_initializer = initializers["mean"]
        self.moving_variance_initializer = initializers["variance"]
        self.renorm = renorm
        self.renorm_clipping = renorm_clipping
        self.renorm_momentum = renorm_momentum
        self.synchronized = synchronized
        self.unbiased_moving_variance = unbiased_moving_variance
