"""Pixel normalization: feature vectors of unit mean square.

Karras, Aila, Laine & Lehtinen, 2018, https://arxiv.org/abs/1710.10196
"""

import keras

from keras_norm.core.layer import AFFINE
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Scale
from keras_norm.core.positions import Position


@keras.saving.register_keras_serializable("keras_norm")
class PixelNormalization(ComposedNormalization):
    """y = x / sqrt(mean(x^2) + epsilon) over the channels of each position.

    Area: position. Operation: scale. Recovery: none. Statistics: the input.

    Args:
        axis: channel axis.
        epsilon: added to the mean square, inside the root.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2. Masks are handed on.

    Raises:
        ValueError: an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> y = kn.layers.PixelNormalization()(np.array([[3.0, 4.0]], "float32"))
    >>> print(keras.ops.convert_to_numpy(y)[0].round(4))
    [0.8485 1.1314]

    Reference:

    - Karras et al., Progressive Growing of GANs, ICLR 2018,
      https://arxiv.org/abs/1710.10196

    Note: epsilon 1e-8 would vanish in float16; it acts in float32.
    """

    fixed = AFFINE

    def __init__(self, axis=-1, epsilon=1e-8, **kwargs):
        super().__init__(
            area=Position(),
            operation=Scale(),
            recovery="none",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
