"""Batch renormalization: training corrected towards the moving averages.

Ioffe, 2017, https://arxiv.org/abs/1702.03275
"""

from typing import Any

import keras

from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.renorm import BatchRenorm


@keras.saving.register_keras_serializable("keras_norm")
class BatchRenormalization(ComposedNormalization):
    """y = gamma * ((x - mean_B) / stddev_B * r + d) + beta in training.

    r = clip(stddev_B / moving_stddev, 1/rmax, rmax) and d = clip((mean_B -
    moving_mean) / moving_stddev, -dmax, dmax) are constants to the gradient;
    stddev_B = sqrt(variance_B + epsilon). Not clipped, training computes what
    inference computes: gamma * (x - moving_mean) / moving_stddev + beta.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    batch, corrected to its moving averages.

    Args:
        rmax: initial value of the weight `rmax`, at least 1.
        dmax: initial value of the weight `dmax`, at least 0. With 1 and 0 it
            is batch normalization; `callbacks.RenormSchedule` starts there.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root; `moving_stddev`
            contains it.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses the batch, corrected, and updates the averages.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: bounds that bound nothing; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchRenormalization()
    >>> y = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    >>> [w.name for w in layer.weights]
    ['gamma', 'beta', 'rmax', 'dmax', 'moving_mean', 'moving_stddev']

    Reference:

    - Ioffe, Batch Renormalization: Towards Reducing Minibatch Dependence in
      Batch-Normalized Models, NeurIPS 2017, https://arxiv.org/abs/1702.03275

    Note: one set of averages, as in the paper. Keras has two, with a momentum
    each: `BatchNormalization(renorm=True)`.
    """

    def __init__(
        self,
        rmax=3.0,
        dmax=5.0,
        axis=-1,
        momentum=0.99,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        statistics = BatchRenorm(rmax, dmax, momentum)
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=statistics,
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        # The weights take their place when the layer is built.
        self.rmax: Any = statistics.rmax
        self.dmax: Any = statistics.dmax
        self.momentum = statistics.momentum
        self.synchronized = synchronized

    def get_config(self):
        """The bounds at the start: a schedule moves the weights."""
        bounds = {"rmax": self.statistics.rmax, "dmax": self.statistics.dmax}
        return {**super().get_config(), **bounds}
