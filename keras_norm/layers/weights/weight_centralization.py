"""Weight centralization: weights of mean 0.

Yan et al., 2020, https://arxiv.org/abs/2001.06838
"""

import keras
from keras import ops

from keras_norm.core import weight_vectors
from keras_norm.core.vector_parametrization import VectorParametrization


@keras.saving.register_keras_serializable("keras_norm")
class WeightCentralization(VectorParametrization):
    """w = v - mean(v) for each output neuron.

    Args:
        layer: the layer to wrap; its kernel is v.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        scale: multiply by a scale g for each neuron.
        scale_initializer: initializer of g, or a number.
        scale_regularizer: regularizer of g.
        scale_constraint: constraint of g.
        trainable_scale: learn g.
        targets: names of the kernels to take; None: all.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: whatever `layer` takes; further arguments are passed on.
        training: True in training; passed on.
        mask: passed on.

    Raises:
        ValueError: neurons of one input, which centred are 0; otherwise as
            `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.WeightCentralization(keras.layers.Dense(3))
    >>> y = layer(np.ones((2, 4), "float32"))
    >>> bool(keras.ops.max(keras.ops.abs(y)) < 1e-6)
    True

    Reference:

    - Yan et al., Towards Stabilizing Batch Statistics in Backward Propagation
      of Batch Normalization, ICLR 2020, https://arxiv.org/abs/2001.06838

    Note: made for `MovingAverageBatchNormalization`, whose layers have no
    bias.
    """

    centers = True
    scales = False

    def gain(self, w, kernel):
        """Centring keeps the length: the scale is 1."""
        return ops.ones(kernel.units, w.dtype)

    def violation(self, w, kernel):
        """How far a mean is from 0."""
        return weight_vectors.largest(ops.mean(w, axis=kernel.reduced))
