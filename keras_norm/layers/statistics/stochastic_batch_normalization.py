"""Stochastic batch normalization: inference as noisy as training.

Atanov, Ashukha, Molchanov, Neklyudov & Vetrov, 2018,
https://arxiv.org/abs/1802.04893
"""

import keras

from keras_norm.core import elementwise
from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import Selected
from keras_norm.core.stochastic import Stochastic


@keras.saving.register_keras_serializable("keras_norm")
class StochasticBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, random moments.

    Training is batch normalization. Inference draws, for each call and
    channel, mean ~ N(m, m2 - m^2) and variance = exp(N(l, l2 - l^2)), with the
    moving averages m, m2 of the batches' mean and its square and l, l2 of
    log(variance_B + 1e-6) and its square. The mean of several calls is the
    prediction, their spread its uncertainty.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    batch; at inference sampled.

    Args:
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        inference: "sample"; "moving": m and exp(l), the geometric mean of the
            variances; "batch": statistics of what inference is called with.
        seed: of what is drawn: an integer, or None for one at random.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an unknown `inference`; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.StochasticBatchNormalization(seed=0)
    >>> x = np.random.rand(8, 4).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (8, 4)

    Reference:

    - Atanov et al., Uncertainty Estimation via Stochastic Batch Normalization,
      2018, https://arxiv.org/abs/1802.04893

    Note: all averages start at 0, as the authors'. Their program draws with a
    variance of at least 1e-3. The spread of a mean that is more than a
    thousand times as large cannot be told from m2 - m^2 in float32 and is
    taken as 0.
    """

    def __init__(
        self,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        inference="sample",
        seed=None,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=Stochastic(momentum, inference),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.momentum, self.inference = float(momentum), inference
        self.seed, self.synchronized = seed, synchronized
        if inference == "sample":
            self.seed_generator = keras.random.SeedGenerator(seed)

    def factors(self, table, training, area=None):
        """In inference the batch's statistics leave the state alone."""
        if training:
            return super().factors(table, training, area)
        averages = self.area.over(table)
        moments = self.operation.measure(table, averages, self.epsilon)
        rate = self.operation.rate(moments[1], self.epsilon)
        return elementwise.factors(table, averages, Selected(*moments), rate)
