"""Batch normalization by population statistics, in training too.

Dinh, Sohl-Dickstein & Bengio, 2017, https://arxiv.org/abs/1605.08803
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.population import Population


@keras.saving.register_keras_serializable("keras_norm")
class PopulationBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mixed moments.

    used = w * batch + (1 - w) * state, the state without gradient; then state
    <- momentum * state + (1 - momentum) * batch.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    mixture in training, the state in inference.

    Args:
        weight: w. None: 1 - momentum, so that `used` is the state after the
            step, as the paper has it. A number: the `bn_lag` of the authors'
            program. "diminishing": 1/t with t = 1 at the first step, and the
            state becomes `used` (Ma & Klabjan): the average of all batches.
        axis: channel axis.
        momentum: fraction kept of the state.
        epsilon: added to the variance, inside the root.
        bias_correction: None, or "dinh": used / (1 - w^t), as the program.
        gradient: "batch": through the batch's share. "none": the statistics
            are constants.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True mixes with and updates the state.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: a weight outside [0, 1]; an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.PopulationBatchNormalization(weight="diminishing")
    >>> y = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(layer.moving_mean))
    [2.]

    Reference:

    - Dinh et al., Density Estimation using Real NVP, ICLR 2017, appendix E,
      https://arxiv.org/abs/1605.08803
    - Ma & Klabjan, Diminishing Batch Normalization, 2017,
      https://arxiv.org/abs/1705.08011

    Note: the program's correction divides the state's share too, whose
    variance starts at 1. Its epsilon is 1e-8.
    """

    def __init__(
        self,
        weight=None,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        bias_correction=None,
        gradient="batch",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=Population(weight, momentum, bias_correction, gradient),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.weight, self.momentum = weight, float(momentum)
        self.bias_correction, self.gradient = bias_correction, gradient
        self.synchronized = synchronized
