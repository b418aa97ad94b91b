"""Scale-only batch normalization: scaling without centering.

Yan et al., 2020, https://arxiv.org/abs/2001.06838
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Scale
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class ScaleOnlyBatchNormalization(ComposedNormalization):
    """y = gamma * x / sqrt(mean(x^2) + epsilon) + beta per channel.

    Area: batch. Operation: scale. Recovery: affine. Statistics: the batch in
    training, moving averages in inference.

    Args:
        axis: channel axis.
        momentum: fraction kept of the moving average.
        epsilon: added to the mean square, inside the root.
        centered_variance: divide by the root of the variance about the mean
            instead (x itself is not shifted).
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

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
    >>> layer = kn.layers.ScaleOnlyBatchNormalization()
    >>> y = layer(np.array([[1.0], [7.0]], "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(y)[:, 0].round(3))
    [0.2 1.4]

    Reference:

    - Yan et al., Towards Stabilizing Batch Statistics in Backward Propagation
      of Batch Normalization, ICLR 2020, https://arxiv.org/abs/2001.06838
    """

    def __init__(
        self,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        centered_variance=False,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=ScaleByDeviation() if centered_variance else Scale(),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.momentum, self.synchronized = float(momentum), synchronized
        self.centered_variance = centered_variance
