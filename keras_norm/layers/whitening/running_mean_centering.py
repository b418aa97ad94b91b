"""Centering by the running mean of the activations.

Montavon & Mueller, Deep Boltzmann Machines and the Centering Trick, 2012
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.layer import AFFINE
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Center
from keras_norm.core.population import Lagging


@keras.saving.register_keras_serializable("keras_norm")
class RunningMeanCentering(ComposedNormalization):
    """y = x - moving_mean per channel, the mean constant to the gradient.

    After use, moving_mean <- momentum * moving_mean + (1 - momentum) * mean
    of the batch: training and inference compute the same.

    Area: batch. Operation: center. Recovery: none. Statistics: the moving
    average, in training as it was before the step.

    Args:
        axis: channel axis.
        momentum: fraction kept of the moving mean.
        synchronized: add up the statistics of all replicas.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True updates the moving mean.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an axis outside the input; a momentum outside [0, 1].

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.RunningMeanCentering(momentum=0.5)
    >>> x = np.array([[1.0], [3.0]], "float32")
    >>> for _ in range(2):
    ...     y = layer(x, training=True)
    >>> print(keras.ops.convert_to_numpy(y)[:, 0])
    [0. 2.]

    Reference:

    - Montavon & Mueller, Deep Boltzmann Machines and the Centering Trick,
      Neural Networks: Tricks of the Trade, 2012

    Note: to keep what the next layer computes when the mean moves, see
    `MeanNormalizedDense`.
    """

    fixed = ("epsilon", *AFFINE)

    def __init__(self, axis=-1, momentum=0.99, synchronized=False, **kwargs):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=Center(),
            statistics=Lagging(momentum),
            recovery="none",
            axis=axis,
            center=False,
            scale=False,
            **kwargs,
        )
        self.momentum, self.synchronized = float(momentum), synchronized
