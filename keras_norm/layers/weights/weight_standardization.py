"""Weight standardization: weights of mean 0 and variance 1.

Qiao et al., 2019, https://arxiv.org/abs/1903.10520
"""

import keras
from keras import ops

from keras_norm.core import weight_vectors
from keras_norm.core.vector_parametrization import VectorParametrization


@keras.saving.register_keras_serializable("keras_norm")
class WeightStandardization(VectorParametrization):
    """w = (v - mean(v)) / sqrt(var(v) + epsilon) for each output neuron.

    |w| is the root of the fan-in, more than any usual start: an activation
    normalization is to follow.

    Args:
        layer: the layer to wrap; its kernel is v.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        epsilon: added as `epsilon_place` says.
        epsilon_place: "inside": to the variance; "outside": to the standard
            deviation; "clamp": least variance.
        unbiased: divide the variance by the fan-in - 1.
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
    >>> layer = kn.layers.WeightStandardization(keras.layers.Conv2D(4, 3))
    >>> y = layer(np.ones((2, 8, 8, 3), "float32"))
    >>> w = layer.effective_kernel()
    >>> bool(abs(keras.ops.std(w[..., 0]) - 1) < 1e-3)
    True

    Reference:

    - Qiao et al., Micro-Batch Training with Batch-Channel Normalization and
      Weight Standardization, 2019, https://arxiv.org/abs/1903.10520

    Note: published programs differ: the authors' PyTorch program is
    `unbiased=True, epsilon=1e-5, epsilon_place="outside"`, their TensorFlow
    program the same with the biased variance; timm's and BiT's is the default
    here.
    """

    centers = True

    def __init__(
        self,
        layer,
        axis=None,
        epsilon=1e-6,
        epsilon_place="inside",
        unbiased=False,
        **kwargs,
    ):
        super().__init__(layer, axis=axis, **kwargs)
        self.epsilon = float(epsilon)
        self.epsilon_place = weight_vectors.check_place(epsilon_place)
        self.unbiased = unbiased

    def rate(self, squares, kernel):
        """1 / deviation."""
        return weight_vectors.reciprocal(
            squares / self._divisor(kernel), self.epsilon, self.epsilon_place
        )

    def _divisor(self, kernel):
        return kernel.fan_in - (1 if self.unbiased else 0)

    def gain(self, w, kernel):
        """The standard deviation."""
        return super().gain(w, kernel) / self._divisor(kernel) ** 0.5

    def violation(self, w, kernel):
        """How far a mean is from 0, or a deviation from 1."""
        means = weight_vectors.largest(ops.mean(w, axis=kernel.reduced))
        deviations = weight_vectors.largest(self.gain(w, kernel) - 1.0)
        return ops.maximum(means, deviations)
