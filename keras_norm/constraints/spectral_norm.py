"""A bound on the largest singular value, kept by scaling after a step.

The constraint of spectral normalization (Miyato, Kataoka, Koyama and Yoshida,
ICLR 2018) as a projection.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import matrix_projections
from keras_norm.core import projections


@keras.saving.register_keras_serializable("keras_norm")
class SpectralNorm(projections.Projection):
    """W <- W min(1, max_value / s), s the largest singular value of W.

    W is the kernel as a matrix (outputs, fan-in). A kernel within the bound
    stays as it is.

    Args:
        max_value: the bound.
        axis: axis or axes of the output neurons, or a name, as in
            `keras_norm.constraints.UnitNorm`. None: the last axis.
        every: scale at every so many updates of the optimizer.

    Raises:
        ValueError: `max_value` that is not positive; at the first call for a
            variable that has no axes besides the output axes, as a bias.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> w = kn.constraints.SpectralNorm(2.0)(w)
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[2.  0. ]
     [0.  0.5]]

    Reference:

    - Miyato et al., Spectral Normalization for Generative Adversarial
      Networks, ICLR 2018, https://arxiv.org/abs/1802.05957

    Note:
        s is found without a start vector, by 20 squarings of the smaller gram
        matrix, and is at most a few parts in a million too large. It is the
        norm of the kernel as a matrix: for a convolution not that of the map
        between images. The nearest matrix within the bound would cut each
        singular value at it instead.
    """

    def __init__(self, max_value=1.0, axis=None, every=1):
        super().__init__(axis, every)
        if not max_value > 0:
            raise errors.received(
                "`max_value` must be positive.", max_value=max_value
            )
        self.max_value = float(max_value)

    def project(self, w, kernel):
        matrix = kernel.matrices(w)
        value = matrix_projections.largest_singular_value(matrix)
        factor = self.max_value / ops.maximum(value, self.max_value)
        return kernel.of_matrices(matrix * factor)

    def get_config(self):
        return {"max_value": self.max_value, **super().get_config()}
