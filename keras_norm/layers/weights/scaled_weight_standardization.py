"""Scaled weight standardization, of normalizer-free networks.

Brock et al., 2021, https://arxiv.org/abs/2101.08692
"""

import keras

from keras_norm.core import gaussian_moments
from keras_norm.core import weight_vectors
from keras_norm.core.vector_parametrization import VectorParametrization


@keras.saving.register_keras_serializable("keras_norm")
class ScaledWeightStandardization(VectorParametrization):
    """w = gamma g (v - mean(v)) / sqrt(max(F var(v), epsilon)) per neuron.

    F is the fan-in: inputs of variance 1 give outputs of variance gamma^2.

    Args:
        layer: the layer to wrap; its kernel is v.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        gamma: a number, or the name of the activation before the layer: then
            gamma = 1 / std(activation(z)), z ~ N(0, 1), which undoes what the
            activation does to the variance.
        epsilon: what `epsilon_place` says.
        epsilon_place: "clamp": least F var(v); "inside": added to var(v);
            "outside": added to the standard deviation.
        scale: multiply by a scale g for each neuron, the papers' gain.
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
    >>> layer = kn.layers.ScaledWeightStandardization(
    ...     keras.layers.Conv2D(4, 3), gamma="relu")
    >>> y = layer(np.ones((2, 8, 8, 3), "float32"))
    >>> round(layer.gain_of_activation, 4)
    1.7129

    Reference:

    - Brock, De & Smith, Characterizing Signal Propagation to Close the
      Performance Gap in Unnormalized ResNets, ICLR 2021,
      https://arxiv.org/abs/2101.08692
    - Brock et al., High-Performance Large-Scale Image Recognition Without
      Normalization, ICML 2021, https://arxiv.org/abs/2102.06171

    Note: the default is DeepMind's program, which multiplies the activation by
    gamma instead; timm's is `epsilon=1e-6, epsilon_place="inside"`. Their
    gammas are Monte-Carlo estimates (relu 1.71386); these are integrals. The
    authors exempt gain and bias from weight decay.
    """

    centers = True

    def __init__(
        self,
        layer,
        axis=None,
        gamma=1.0,
        epsilon=1e-4,
        epsilon_place="clamp",
        scale=True,
        **kwargs,
    ):
        super().__init__(layer, axis=axis, scale=scale, **kwargs)
        self.gamma = gamma
        if isinstance(gamma, (int, float)):
            self.gain_of_activation = float(gamma)
        else:
            self.gain_of_activation = 1.0 / gaussian_moments.of(gamma).deviation
        self.epsilon = float(epsilon)
        self.epsilon_place = weight_vectors.check_place(epsilon_place)

    def rate(self, squares, kernel):
        """Gamma / length, the length being that of F var(v)."""
        # What is added is added to var(v).
        factor = {"clamp": 1, "inside": kernel.fan_in}.get(
            self.epsilon_place, kernel.fan_in**0.5
        )
        return self.gain_of_activation * weight_vectors.reciprocal(
            squares, self.epsilon * factor, self.epsilon_place
        )

    def gain(self, w, kernel):
        """Length over gamma."""
        return super().gain(w, kernel) / self.gain_of_activation

    def violation(self, w, kernel):
        """How far a length over gamma is from 1, or a sum from 0."""
        sums = weight_vectors.largest(keras.ops.sum(w, axis=kernel.reduced))
        lengths = weight_vectors.largest(self.gain(w, kernel) - 1.0)
        return keras.ops.maximum(sums, lengths)
