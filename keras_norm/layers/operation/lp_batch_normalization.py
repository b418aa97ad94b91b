"""Lp batch normalization: L1, L2, Lp, maximum and top-k deviations.

Hoffer et al., 2018, https://arxiv.org/abs/1803.01814
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.deviations import LpDeviation
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class LpBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / deviation + beta, the deviation an Lp norm.

    p = 1: deviation = c E|x - mean| + epsilon; other p: c (E|x - mean|^p +
    epsilon)^(1/p); p = "inf": c(n) (mean of the top_k largest |x - mean|) +
    epsilon.

    Area: batch. Operation: standardize by an Lp deviation. Recovery: affine.
    Statistics: the batch in training, moving averages (of mean and deviation)
    in inference.

    Args:
        p: 1, 2, any positive number, or "inf".
        top_k: for "inf": how many of the largest entries are averaged.
        gaussian_correction: multiply by the c that makes the deviation of
            Gaussian data their standard deviation: sqrt(pi / 2) for p = 1, 1
            for p = 2, (1 + sqrt(pi ln 4)) / (2 sqrt(2 ln n)) for "inf" of n
            entries; c = 1 otherwise.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: see the formula.
        synchronized: measure over all replicas; with `top_k` above 1 every
            replica gathers all entries.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: a `p` that is not positive; an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LpBatchNormalization(p=1, gaussian_correction=False)
    >>> y = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(y)[:, 0].round(3))
    [-1.  1.]

    Reference:

    - Hoffer et al., Norm matters, NeurIPS 2018,
      https://arxiv.org/abs/1803.01814
    - Wu et al., L1-Norm Batch Normalization, 2018,
      https://arxiv.org/abs/1802.09769

    Note: the authors' program keeps moving averages of the *inverse* deviation
    with zeros to start from and a momentum of 0.1 kept; we keep the deviation,
    from 1, with 0.9 kept. It has no Gaussian factor for finite p other than 1.
    The survey's formulas lack the absolute value and the centering.
    """

    def __init__(
        self,
        p=2,
        top_k=1,
        gaussian_correction=True,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=LpDeviation(p, top_k, gaussian_correction),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.p, self.top_k = p, top_k
        self.gaussian_correction = gaussian_correction
        self.momentum, self.synchronized = float(momentum), synchronized
