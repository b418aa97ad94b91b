"""Group normalization: statistics per sample and group of channels.

Wu & He, 2018, https://arxiv.org/abs/1803.08494
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class GroupNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta per group.

    Area: group (consecutive channels of each sample). Operation: standardize.
    Recovery: affine per channel. Statistics: the input itself.

    A drop-in for `keras.layers.GroupNormalization`.

    Args:
        groups: number of groups; must divide the channels. -1: one per channel
            (instance normalization); 1: layer normalization over positions
            and channels.
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        center: add `beta`.
        scale: multiply by `gamma`.
        beta_initializer: initializer of `beta` (C,).
        gamma_initializer: initializer of `gamma` (C,).
        beta_regularizer: regularizer of `beta`.
        gamma_regularizer: regularizer of `gamma`.
        beta_constraint: constraint of `beta`.
        gamma_constraint: constraint of `gamma`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: groups that do not divide the channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.GroupNormalization(groups=4)
    >>> tuple(layer(np.random.rand(2, 8, 8, 16).astype("float32")).shape)
    (2, 8, 8, 16)

    Reference:

    - Wu & He, Group Normalization, ECCV 2018,
      https://arxiv.org/abs/1803.08494

    Note: Keras' epsilon is 1e-3, the paper's 1e-5.
    """

    def __init__(
        self,
        groups=32,
        axis=-1,
        epsilon=1e-3,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        **kwargs,
    ):
        super().__init__(
            area=Area("each", group_columns(groups)),
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
        self.groups = groups
