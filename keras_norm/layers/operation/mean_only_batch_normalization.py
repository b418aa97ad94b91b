"""Mean-only batch normalization: centering without scaling.

Salimans & Kingma, 2016, https://arxiv.org/abs/1602.07868
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.layer import GAMMA
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Center
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class MeanOnlyBatchNormalization(ComposedNormalization):
    """y = x - mean + beta per channel.

    Area: batch. Operation: center. Recovery: an offset. Statistics: the batch
    in training, moving averages in inference. Made to go with weight
    normalization.

    Args:
        axis: channel axis.
        momentum: fraction kept of the moving mean.
        synchronized: add up the statistics of all replicas.
        center: add `beta` (C,).
        **kwargs: `beta_...`, `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an axis outside the input; a momentum outside [0, 1].

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.MeanOnlyBatchNormalization()
    >>> y = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(y)[:, 0])
    [-1.  1.]

    Reference:

    - Salimans & Kingma, Weight Normalization, NIPS 2016,
      https://arxiv.org/abs/1602.07868
    """

    fixed = ("epsilon", *GAMMA)

    def __init__(self, axis=-1, momentum=0.9, synchronized=False, **kwargs):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=Center(),
            statistics=MovingAverage(momentum),
            axis=axis,
            scale=False,
            **kwargs,
        )
        self.momentum, self.synchronized = float(momentum), synchronized
