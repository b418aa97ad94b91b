"""BigGAN's orthogonal regularization: angles between neurons, not lengths.

Brock, Donahue and Simonyan, ICLR 2019.
"""

import keras

from keras_norm.core import penalties
from keras_norm.core.orthogonal import gram


@keras.saving.register_keras_serializable("keras_norm")
class OffDiagonalOrthogonal(penalties.MatrixPenalty):
    """factor |W W^T * (1 - I)|_F^2, * entry by entry.

    W is the kernel as a matrix (outputs, fan-in). Soft orthogonality without
    the diagonal: the lengths of the weight vectors are free.

    Args:
        factor: number of at least 0, or a scalar variable, as in
            `keras_norm.regularizers.SoftOrthogonal`.
        axis: axis or axes of the output neurons, or a name, as there. None:
            the last axis.

    Variables of rank 1, as biases, cost nothing.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[3.0, 0.5], [0.0, 1.0]])
    >>> penalty = kn.regularizers.OffDiagonalOrthogonal(1.0)
    >>> print(keras.ops.convert_to_numpy(penalty(w)))
    4.5

    Reference:

    - Brock et al., Large Scale GAN Training for High Fidelity Natural Image
      Synthesis, ICLR 2019, https://arxiv.org/abs/1809.11096

    Note:
        The authors' program adds strength 2 (W W^T * (1 - I)) W to the
        gradient, half of what this penalty gives: their strength 1e-4 is the
        default factor here. They spare the shared embedding.
    """

    def __init__(self, factor=5e-5, axis=None):
        super().__init__(factor, axis)

    def of_matrices(self, m):
        return penalties.off_diagonal_square(gram(m))
