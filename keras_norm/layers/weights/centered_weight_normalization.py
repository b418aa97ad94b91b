"""Centered weight normalization: weights of mean 0 and length 1.

Huang et al., ICCV 2017
"""

import keras
from keras import ops

from keras_norm.core import weight_vectors
from keras_norm.core.vector_parametrization import VectorParametrization


@keras.saving.register_keras_serializable("keras_norm")
class CenteredWeightNormalization(VectorParametrization):
    """w = g (v - mean(v)) / (|v - mean(v)| + epsilon) per output neuron.

    Args:
        layer: the layer to wrap; its kernel is v.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        epsilon: added as `epsilon_place` says.
        epsilon_place: "outside": to the length; "inside": to its square;
            "clamp": least square of the length.
        scale: multiply by a scale g for each neuron.
        scale_initializer: initializer of g, or a number: 2 ** 0.5 suits
            layers before a ReLU.
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
    >>> layer = kn.layers.CenteredWeightNormalization(keras.layers.Dense(3))
    >>> y = layer(np.ones((2, 4), "float32"))  # a constant: mean(w) * 4 = 0
    >>> bool(keras.ops.max(keras.ops.abs(y)) < 1e-6)
    True

    Reference:

    - Huang et al., Centered Weight Normalization in Accelerating Training of
      Deep Neural Networks, ICCV 2017

    Note: the authors' PyTorch program has a fixed scale of 1.414 by default,
    their Lua program a learned one that starts at 1, as here.
    """

    centers = True

    def __init__(
        self,
        layer,
        axis=None,
        epsilon=1e-5,
        epsilon_place="outside",
        scale=True,
        **kwargs,
    ):
        super().__init__(layer, axis=axis, scale=scale, **kwargs)
        self.epsilon = float(epsilon)
        self.epsilon_place = weight_vectors.check_place(epsilon_place)

    def rate(self, squares, kernel):
        """1 / length."""
        return weight_vectors.reciprocal(
            squares, self.epsilon, self.epsilon_place
        )

    def violation(self, w, kernel):
        """How far a length is from 1, or a sum from 0."""
        sums = weight_vectors.largest(ops.sum(w, axis=kernel.reduced))
        lengths = weight_vectors.largest(self.gain(w, kernel) - 1.0)
        return ops.maximum(sums, lengths)
