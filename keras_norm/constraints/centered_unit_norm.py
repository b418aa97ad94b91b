"""Weight vectors of zero mean and length 1 by projection after a step.

The set of centered weight normalization (Huang, Liu, Liu, Lang and Tao, ICCV
2017), reached as in projection-based weight normalization.
"""

import keras
from keras import ops

from keras_norm.constraints.unit_norm import UnitNorm
from keras_norm.core import weight_vectors

# Of what length a centred vector is rounding, as a fraction of the vector's.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable("keras_norm")
class CenteredUnitNorm(UnitNorm):
    """w <- value (w - mean(w)) / |w - mean(w)| for each output neuron.

    The nearest vector of zero mean and that length. A neuron whose weights are
    all equal becomes zero.

    Args:
        axis: axis or axes of the output neurons, or a name, as in `UnitNorm`;
            mean and length are over all others. None: the last axis.
        every: project at every so many updates of the optimizer.
        value: the length.
        epsilon: least length that is divided by.

    Raises:
        ValueError: at the first call for a variable with less than two
            weights for each output neuron.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[3.0, 1.0], [5.0, -1.0]])
    >>> w = kn.constraints.CenteredUnitNorm()(w)
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[-0.7071  0.7071]
     [ 0.7071 -0.7071]]

    Reference:

    - Huang et al., Centered Weight Normalization in Accelerating Training of
      Deep Neural Networks, ICCV 2017
    - Huang et al., Projection Based Weight Normalization for Deep Neural
      Networks, 2017, https://arxiv.org/abs/1710.02338
    """

    least_fan_in = 2

    def project(self, w, kernel):
        axes = kernel.reduced
        # Twice: the mean of a mean's rounding.
        centred = weight_vectors.centred(w, axes)
        centred = weight_vectors.centred(centred, axes)
        least = _ROUNDING**2 * weight_vectors.square(w, axes)
        kept = weight_vectors.square(centred, axes) > least
        return super().project(centred * ops.cast(kept, w.dtype), kernel)
