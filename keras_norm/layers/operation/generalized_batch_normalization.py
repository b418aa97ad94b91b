"""Generalized batch normalization: any deviation measure and its statistic.

Yuan, Feng, Norton & Li, 2019, https://arxiv.org/abs/1812.03271
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.deviations import Deviation
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Operation
from keras_norm.core.registry import operation
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class GeneralizedBatchNormalization(ComposedNormalization):
    """y = gamma * (x - S) / D + beta, D a deviation measure, S its statistic.

    | deviation | D | S |
    |---|---|---|
    | std | standard deviation | mean |
    | mad | mean of |x - median| | median |
    | range | (max - min) / 2 | (max + min) / 2 |
    | rsd | sqrt(E[max(x - mean, 0)^2]) | mean |
    | lsd | sqrt(E[max(mean - x, 0)^2]) | mean |
    | sqd | mean of the upper (1 - alpha) tail - mean | alpha-quantile |
    | wcd | max - mean | max |

    Area: batch. Operation: standardize by a deviation. Recovery: affine.
    Statistics: the batch in training, moving averages (of S and D) in
    inference.

    Args:
        deviation: one of the above, or an operation object of
            `keras_norm.operations` that measures two statistics.
        alpha: level of the quantile of "sqd", in (0, 1).
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added inside the root of std, rsd and lsd, outside of others.
        synchronized: measure over all replicas; deviations of order
            statistics gather all entries on every replica.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an unknown deviation; an alpha outside (0, 1).

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.GeneralizedBatchNormalization("range")
    >>> x = np.array([[1.0], [2.0], [5.0]], "float32")
    >>> y = layer(x, training=True)
    >>> print(keras.ops.convert_to_numpy(y)[:, 0].round(3))
    [-1.  -0.5  1. ]

    Reference:

    - Yuan et al., Generalized Batch Normalization: Towards Accelerating Deep
      Neural Networks, AAAI 2019, https://arxiv.org/abs/1812.03271

    Note: no program of the authors is public. D and S follow the pairs of
    deviation and statistic of the risk quadrangle that the paper builds on;
    quantiles are interpolated linearly.
    """

    def __init__(
        self,
        deviation="rsd",
        alpha=0.7,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        if isinstance(deviation, (Operation, dict)):
            measured = deviation = operation(deviation)
        else:
            measured = Deviation(deviation, alpha)
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=measured,
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.deviation, self.alpha = deviation, alpha
        self.momentum, self.synchronized = float(momentum), synchronized
