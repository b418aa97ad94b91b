"""Projection-based weight normalization: w <- w / |w| after a step.

Huang, Liu, Lang and Li, Projection Based Weight Normalization for Deep Neural
Networks, 2017.
"""

import keras

from keras_norm import errors
from keras_norm.core import projections
from keras_norm.core import weight_vectors


@keras.saving.register_keras_serializable("keras_norm")
class UnitNorm(projections.Projection):
    """w <- value w / |w| for the weight vector w of each output neuron.

    The nearest vector of that length, so that a neuron that has it stays as it
    is. A neuron of zeros stays zero.

    Args:
        axis: axis or axes of the output neurons; the length is over all
            others. None: the last axis, as in dense and convolutional
            kernels. Or a name: "dense", "convolution", "recurrent",
            "transposed_convolution" (-2), "depthwise_convolution" (-2, -1),
            "embedding" (0, one vector for each token). (The `axis` of
            `keras.constraints.UnitNorm` is the opposite: the axes that the
            length is over.)
        every: project at every so many updates of the optimizer, whose
            `iterations` are asked, so that resumed training goes on counting.
            Called by hand it always projects.
        value: the length.
        epsilon: least length that is divided by.

    Raises:
        ValueError: at the first call for a variable that has no axes besides
            the output axes, as a bias.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[3.0, 0.0], [4.0, 2.0]])
    >>> unit = kn.constraints.UnitNorm()
    >>> print(keras.ops.convert_to_numpy(unit(w)).round(4))
    [[0.6 0. ]
     [0.8 1. ]]
    >>> layer = keras.layers.Dense(4, kernel_constraint=unit)

    Reference:

    - Huang et al., Projection Based Weight Normalization for Deep Neural
      Networks, 2017, https://arxiv.org/abs/1710.02338

    Note:
        The function of a network does not change where each projected layer
        is followed by a normalization of its outputs, as in the paper.
        Momentum of the optimizer keeps its components along w. A
        `LossScaleOptimizer` that skips a step projects nothing at it and does
        not count it. With `gradient_accumulation_steps` an update is so many
        steps; `every=1` then also projects in between, where a kernel that
        was projected stays as it is.
    """

    def __init__(self, axis=None, every=1, value=1.0, epsilon=1e-12):
        super().__init__(axis, every)
        if not value > 0:
            raise errors.received("`value` must be positive.", value=value)
        self.value = float(value)
        self.epsilon = float(epsilon)

    def project(self, w, kernel):
        return self.value * weight_vectors.unit(
            w, kernel.reduced, self.epsilon**2
        )

    def get_config(self):
        own = {"value": self.value, "epsilon": self.epsilon}
        return {**super().get_config(), **own}
