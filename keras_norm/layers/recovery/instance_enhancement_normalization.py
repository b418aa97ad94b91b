"""Instance enhancement batch normalization: a gate from the sample's means.

Liang, Huang, Liang & Yang, 2020, https://arxiv.org/abs/1908.04008
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.generated_recoveries import EnhancedByMean
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class InstanceEnhancementBatchNormalization(ComposedNormalization):
    """y = gamma * gate_n * (x - mean) / sqrt(variance + epsilon) + beta.

    gate_n = sigmoid(enhancement_weight * mean_n + enhancement_bias), mean_n the
    mean of the sample's input over the positions, channel by channel.

    Area: batch. Operation: standardize. Recovery: affine and generated.
    Statistics: the batch in training, moving averages in inference; the
    sample's means always.

    Args:
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        unbiased_moving_variance: store the variance divided by m - 1.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2; without positions mean_n is the
            input itself.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes, of all statistics.

    Raises:
        ValueError: an axis outside the input or of unknown size.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.InstanceEnhancementBatchNormalization()
    >>> tuple(layer(np.random.rand(4, 8, 8, 3).astype("float32")).shape)
    (4, 8, 8, 3)

    Reference:

    - Liang et al., Instance Enhancement Batch Normalization: An Adaptive
      Regulator of Batch Noise, AAAI 2020, https://arxiv.org/abs/1908.04008

    Note: the gates start at sigmoid(-1) = 0.27 for all samples.
    """

    def __init__(
        self,
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
            recovery=EnhancedByMean(),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.momentum, self.synchronized = float(momentum), synchronized
        self.unbiased_moving_variance = unbiased_moving_variance
