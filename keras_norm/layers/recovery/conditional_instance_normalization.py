"""Conditional instance normalization: gamma and beta of each style.

Dumoulin, Shlens & Kudlur, 2017, https://arxiv.org/abs/1610.07629
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.class_tables import ClassTables
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class ConditionalInstanceNormalization(ComposedNormalization):
    """y = gamma[k] * (x - mean) / sqrt(variance + epsilon) + beta[k].

    k is the class (the style) of the sample. Weights w of the classes mix the
    rows: gamma = sum_k w_k gamma[k], beta = sum_k w_k beta[k], which blends
    styles.

    Area: instance. Operation: standardize. Recovery: conditional. Statistics:
    the input itself.

    Args:
        num_classes: rows of gamma and beta.
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...` (of the tables),
            `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, condition].
        condition: classes, integers of shape (), (N,) or (N, 1), or weights of
            the classes (N, num_classes), used as they are.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: no condition, or one of another shape; an axis outside the
            input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.ConditionalInstanceNormalization(num_classes=10)
    >>> x = np.random.rand(3, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, np.array([0, 3, 9])).shape)
    (3, 8, 8, 3)

    Reference:

    - Dumoulin et al., A Learned Representation for Artistic Style, ICLR 2017,
      https://arxiv.org/abs/1610.07629
    """

    def __init__(self, num_classes, axis=-1, epsilon=1e-5, **kwargs):
        super().__init__(
            area=Area("each", "each"),
            recovery=ClassTables(num_classes),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_classes = num_classes

    def call(self, inputs, condition=None, training=None, mask=None):
        """The condition is the second argument, or second in a list."""
        return self.normalize(inputs, training, mask, condition)
