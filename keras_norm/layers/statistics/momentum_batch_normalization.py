"""Momentum batch normalization: small batches as noisy as large ones.

Yong, Huang, Meng, Hua & Zhang, 2020,
https://doi.org/10.1007/978-3-030-58610-2_14
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.momentum import MomentumAverage
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class MomentumBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, averaged.

    Training: mean = lam * training_mean + (1 - lam) * mean_B, the variance
    likewise, and that is the new state; the gradient goes through the batch's
    share. Inference: moving averages by tau. lam and tau are the weights
    `training_momentum` (0 at first: batch normalization) and
    `moving_momentum`; `callbacks.MomentumSchedule` sets them.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: batch
    and moving average, mixed.

    Args:
        axis: channel axis.
        momentum: initial tau, the fraction kept of the averages of inference.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True mixes with and updates the averages of training.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: a momentum outside [0, 1]; an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.MomentumBatchNormalization()
    >>> x = np.array([[1.0], [3.0]], "float32")
    >>> y = layer(x, training=True)
    >>> _ = layer.training_momentum.assign(0.5)
    >>> y = layer(x + 4.0, training=True)
    >>> print(keras.ops.convert_to_numpy(layer.training_mean))
    [4.]

    Reference:

    - Yong et al., Momentum Batch Normalization for Deep Learning with Small
      Batch Size, ECCV 2020, https://doi.org/10.1007/978-3-030-58610-2_14
    """

    def __init__(
        self,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MomentumAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.momentum, self.synchronized = float(momentum), synchronized
