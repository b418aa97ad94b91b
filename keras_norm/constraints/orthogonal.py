"""Orthogonal weights by projection after a step: polar factor or QR.

The retractions of optimization on the Stiefel manifold, as a constraint:
Huang, Liu, Lang, Yu, Wang and Li, Orthogonal Weight Normalization, AAAI 2018.
"""

import keras

from keras_norm import errors
from keras_norm.core import matrix_projections
from keras_norm.core import projections

METHODS = {
    "polar": matrix_projections.nearest_orthonormal,
    "qr": matrix_projections.orthonormalized,
}


@keras.saving.register_keras_serializable("keras_norm")
class Orthogonal(projections.Projection):
    """W <- U V^T of W = U S V^T, or W <- Q of W^T = Q R.

    W is the kernel as a matrix (outputs, fan-in). Its rows become orthonormal
    if there are no more outputs than weights of an output, else its columns.

    Args:
        method: "polar" gives the nearest such matrix, and treats all neurons
            alike. "qr" keeps the direction of the first neuron and of each
            further one what is orthogonal to those before (the diagonal of R
            is positive), and costs less: one decomposition without some 50
            products of outputs x outputs.
        axis: axis or axes of the output neurons, or a name, as in
            `keras_norm.constraints.UnitNorm`. None: the last axis.
        every: project at every so many updates of the optimizer.

    Raises:
        ValueError: unknown `method`; at the first call for a variable that
            has no axes besides the output axes, as a bias.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[3.0, 1.0], [4.0, 2.0]])
    >>> w = kn.constraints.Orthogonal("qr")(w)
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[ 0.6 -0.8]
     [ 0.8  0.6]]

    Reference:

    - Huang et al., Orthogonal Weight Normalization: Solution to Optimization
      over Multiple Dependent Stiefel Manifolds in Deep Neural Networks, AAAI
      2018, https://arxiv.org/abs/1709.06079

    Note:
        A kernel that lacks rank (zeros, repeated neurons) has no nearest
        matrix: one is chosen.
    """

    def __init__(self, method="polar", axis=None, every=1):
        super().__init__(axis, every)
        if method not in METHODS:
            raise errors.unknown_name("method", method, list(METHODS))
        self.method = method

    def project(self, w, kernel):
        return kernel.of_matrices(METHODS[self.method](kernel.matrices(w)))

    def get_config(self):
        return {"method": self.method, **super().get_config()}
