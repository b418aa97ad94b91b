"""Instance normalization: statistics per sample and channel over positions.

Ulyanov, Vedaldi & Lempitsky, 2016, https://arxiv.org/abs/1607.08022
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class InstanceNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta per instance.

    Area: instance. Operation: standardize. Recovery: affine. Statistics: the
    input itself, in training and inference.

    Args:
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2; with one position per sample the
            output is beta.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an axis outside the input or of unknown size.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.InstanceNormalization()
    >>> y = layer(np.random.rand(2, 8, 8, 3).astype("float32"))
    >>> tuple(y.shape)
    (2, 8, 8, 3)

    Reference:

    - Ulyanov et al., Instance Normalization, 2016,
      https://arxiv.org/abs/1607.08022

    Note: no running statistics, as PyTorch's default.
    """

    def __init__(self, axis=-1, epsilon=1e-5, **kwargs):
        super().__init__(
            area=Area("each", "each"), axis=axis, epsilon=epsilon, **kwargs
        )
