"""Mutual coherence: the largest entry of the gram matrix minus I.

Bansal, Chen and Wang, NeurIPS 2018.
"""

import keras
from keras import ops

from keras_norm.core import penalties
from keras_norm.core.orthogonal import gram


@keras.saving.register_keras_serializable("keras_norm")
class MutualCoherence(penalties.MatrixPenalty):
    """factor max |W W^T - I|, the largest absolute value of an entry.

    W is the kernel as a matrix (outputs, fan-in). Only the two neurons that
    are furthest from orthonormal have a gradient.

    Args:
        factor: number of at least 0, or a scalar variable, as in
            `keras_norm.regularizers.SoftOrthogonal`.
        axis: axis or axes of the output neurons, or a name, as there. None:
            the last axis.

    Variables of rank 1, as biases, cost nothing.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[1.0, 0.5], [0.0, 1.0]])
    >>> penalty = kn.regularizers.MutualCoherence(1.0)
    >>> print(keras.ops.convert_to_numpy(penalty(w)))
    0.5

    Reference:

    - Bansal et al., Can We Gain More from Orthogonality Regularizations in
      Training Deep CNNs?, NeurIPS 2018, https://arxiv.org/abs/1810.09102
    """

    def __init__(self, factor=0.01, axis=None):
        super().__init__(factor, axis)

    def of_matrices(self, m):
        return ops.max(ops.abs(penalties.off_identity(gram(m))))
