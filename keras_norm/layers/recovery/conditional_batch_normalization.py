"""Conditional batch normalization: gamma and beta from a second input.

de Vries et al., 2017, https://arxiv.org/abs/1707.00683
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.recoveries import Conditional
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class ConditionalBatchNormalization(ComposedNormalization):
    """y = gamma(c) * (x - mean) / sqrt(variance + epsilon) + beta(c).

    gamma(c) = gamma0 + W_g c and beta(c) = beta0 + W_b c for a condition c.
    W_g and W_b start at zero: the layer starts as batch normalization.

    Area: batch. Operation: standardize. Recovery: conditional. Statistics: the
    batch in training, moving averages in inference.

    Args:
        num_classes: the condition is an integer class, (), (N,) or (N, 1), or a
            soft assignment (N, num_classes). None: features (N, D).
        hidden_units: put a Dense layer with ReLU before the maps.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        unbiased_moving_variance: store the variance divided by m - 1.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...` (of beta0 and
            gamma0), `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, condition].
        condition: the second input.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: no condition, or one of another shape; an axis outside the
            input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.ConditionalBatchNormalization(num_classes=10)
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, np.array([0, 3, 3, 9])).shape)
    (4, 8, 8, 3)

    Reference:

    - de Vries et al., Modulating Early Visual Processing by Language, NeurIPS
      2017, https://arxiv.org/abs/1707.00683

    Note: BigGAN's y = BN(x) * (1 + gain(c)) + offset(c) is the same with
    gamma0 and beta0 as the biases of gain and offset.
    """

    def __init__(
        self,
        num_classes=None,
        hidden_units=None,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        unbiased_moving_variance=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MovingAverage(momentum, unbiased_moving_variance),
            recovery=Conditional(num_classes, hidden_units),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_classes, self.hidden_units = num_classes, hidden_units
        self.momentum, self.synchronized = float(momentum), synchronized
        self.unbiased_moving_variance = unbiased_moving_variance

    def call(self, inputs, condition=None, training=None, mask=None):
        """The condition is the second argument, or second in a list."""
        return self.normalize(inputs, training, mask, condition)
