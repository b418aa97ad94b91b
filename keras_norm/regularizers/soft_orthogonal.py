"""Soft orthogonality: the Frobenius distance of the gram matrix from I.

Bansal, Chen and Wang, NeurIPS 2018.
"""

import keras
from keras import ops

from keras_norm.core import matrix_projections
from keras_norm.core import penalties


@keras.saving.register_keras_serializable("keras_norm")
class SoftOrthogonal(penalties.MatrixPenalty):
    """factor |W W^T - I|_F^2 (SO), double: + factor |W^T W - I|_F^2 (DSO).

    W is the kernel as a matrix (outputs, fan-in). SO is 0 where its rows are
    orthonormal. DSO is then still |fan-in - outputs|, its least value: only
    square matrices have orthonormal rows and columns.

    Args:
        factor: number of at least 0, or a scalar variable where it shall
            change during training. On JAX that variable must be a weight of
            the model (made by `add_weight`): a compiled step takes all others
            for constants. The config keeps its value.
        double: add the penalty of the columns.
        axis: axis or axes of the output neurons, which are the rows of W.
            None: the last axis, as in dense and convolutional kernels. Or a
            name: "dense", "convolution", "recurrent",
            "transposed_convolution" (-2), "depthwise_convolution" (-2, -1),
            "embedding" (0, one vector for each token).

    Variables of rank 1, as biases, cost nothing.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[1.0, 1.0], [0.0, 1.0]])
    >>> penalty = kn.regularizers.SoftOrthogonal(0.5)
    >>> print(keras.ops.convert_to_numpy(penalty(w)))
    1.5
    >>> layer = keras.layers.Dense(4, kernel_regularizer=penalty)

    Reference:

    - Bansal et al., Can We Gain More from Orthogonality Regularizations in
      Training Deep CNNs?, NeurIPS 2018, https://arxiv.org/abs/1810.09102

    Note:
        The gradient of SO is 4 factor (W W^T - I) W. Programs that add
        strength 2 (W W^T - I) W to the gradient instead (BigGAN's default)
        have factor = strength / 2. `keras.regularizers.OrthogonalRegularizer`
        is another penalty: the mean absolute cosine between rows (or columns)
        of a matrix as it is stored.
    """

    def __init__(self, factor=0.01, double=False, axis=None):
        super().__init__(factor, axis)
        self.double = double

    def of_matrices(self, m):
        # The larger gram matrix has as many eigenvalues 0 more as it has more
        # rows, each of which adds 1.
        rows, columns = m.shape[-2:]
        small = penalties.off_identity(matrix_projections.smaller_gram(m))
        small = ops.sum(ops.square(small))
        of_rows = small + max(rows - columns, 0)
        if not self.double:
            return of_rows
        return of_rows + small + max(columns - rows, 0)

    def get_config(self):
        return {**super().get_config(), "double": self.double}
