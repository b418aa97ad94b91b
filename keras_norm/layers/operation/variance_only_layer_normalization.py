"""Variance-only layer normalization: scaling by the deviation, not centering.

Wang, She, Zhang & Zhang, 2020, https://arxiv.org/abs/2006.12753
"""

import keras

from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.positions import Position


@keras.saving.register_keras_serializable("keras_norm")
class VarianceOnlyLayerNormalization(ComposedNormalization):
    """y = x / sqrt(variance + epsilon) over the channels of each position.

    Area: position. Operation: scale by the deviation about the mean, without
    subtracting the mean. Recovery: none (affine on request). Statistics: the
    input itself.

    Args:
        axis: channel axis.
        epsilon: added to the variance, inside the root. A constant feature
            vector is divided by sqrt(epsilon).
        center: add `beta` (C,).
        scale: multiply by `gamma` (C,).
        **kwargs: `beta_...`, `gamma_...`, `name`, `dtype`: see
            `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2. Masks are handed on.

    Raises:
        ValueError: an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.VarianceOnlyLayerNormalization()
    >>> y = layer(np.array([[1.0, 3.0]], "float32"))
    >>> print(keras.ops.convert_to_numpy(y)[0].round(3))
    [1. 3.]

    Reference:

    - Wang et al., Correct Normalization Matters, 2020,
      https://arxiv.org/abs/2006.12753

    Note: no program of the authors is public; the paper removes gain and bias.
    """

    def __init__(
        self, axis=-1, epsilon=1e-5, center=False, scale=False, **kwargs
    ):
        super().__init__(
            area=Position(),
            operation=ScaleByDeviation(),
            axis=axis,
            epsilon=epsilon,
            center=center,
            scale=scale,
            **kwargs,
        )

    def normalize(self, inputs, training=None, mask=None, condition=None):
        """Masks are handed on: positions do not mix."""
        return super().normalize(inputs, training)
