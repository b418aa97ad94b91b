"""SRIP: the spectral norm of the gram matrix minus I.

Bansal, Chen and Wang, NeurIPS 2018.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import matrix_projections
from keras_norm.core import penalties
from keras_norm.core.layer import one_integer
from keras_norm.core.layer import positive
from keras_norm.core.orthogonal import gram
from keras_norm.ops.power_iteration import of_matrices
from keras_norm.ops.power_iteration import unit
from keras_norm.ops.spectra import transposed

GRAMS = {
    "smaller": matrix_projections.smaller_gram,
    "rows": gram,
    "columns": lambda m: gram(transposed(m)),
}
_EPSILON = 1e-12
# The golden angle, in radians: a chirp of it has no structure that eigenvectors
# could share.
_ANGLE = 2.399963


@keras.saving.register_keras_serializable("keras_norm")
class SpectralRestrictedIsometry(penalties.MatrixPenalty):
    """factor s, s the largest singular value of W W^T - I.

    W is the kernel as a matrix (outputs, fan-in). s is found by power
    iteration from a fixed vector; the iteration's vectors are constants for
    the gradient, which is then that of s = u^T (W W^T - I) v. Few iterations
    find less than the largest value, never more.

    Args:
        factor: number of at least 0, or a scalar variable, as in
            `keras_norm.regularizers.SoftOrthogonal`.
        power_iterations: number of iterations, at least 1, each of them two
            products of a matrix and a vector.
        gram: "rows" is W W^T, "columns" W^T W, "smaller" the smaller of the
            two. The larger one lacks rank: an eigenvalue of -1 remains
            whatever W is.
        squared: factor s^2 instead.
        seed: an integer that chooses the fixed vector, which is the same on
            all backends; or override `start`.
        axis: axis or axes of the output neurons, or a name, as in
            `keras_norm.regularizers.SoftOrthogonal`. None: the last axis.

    Variables of rank 1, as biases, cost nothing.

    Raises:
        ValueError: unknown `gram`, `power_iterations` below 1.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.convert_to_tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> penalty = kn.regularizers.SpectralRestrictedIsometry(1.0)
    >>> print(keras.ops.convert_to_numpy(penalty(w)).round(4))
    3.0

    Reference:

    - Bansal et al., Can We Gain More from Orthogonality Regularizations in
      Training Deep CNNs?, NeurIPS 2018, https://arxiv.org/abs/1810.09102

    Note:
        The authors' program takes gram="columns" with squared=True, draws a
        new start vector for each step and lets the gradient flow through the
        power iteration.
    """

    def __init__(
        self,
        factor=0.01,
        power_iterations=2,
        gram="smaller",
        squared=False,
        seed=0,
        axis=None,
    ):
        super().__init__(factor, axis)
        positive("power_iterations", power_iterations)
        if gram not in GRAMS:
            raise errors.unknown_name("gram", gram, list(GRAMS))
        self.power_iterations = power_iterations
        self.gram = gram
        self.squared = squared
        self.seed = one_integer("seed", seed)

    def start(self, size, dtype):
        """The vector (size,) that the power iteration starts from."""
        index = ops.cast(ops.arange(1, size + 1, dtype="int32"), dtype)
        return ops.cos(_ANGLE * index * (index + self.seed))

    def of_matrices(self, m):
        s = penalties.off_identity(GRAMS[self.gram](m))
        u = ops.expand_dims(self.start(s.shape[-1], s.dtype), 0)
        u = unit(u, _EPSILON)
        value, _, _ = of_matrices(s, u, self.power_iterations, _EPSILON)
        return ops.sum(ops.square(value) if self.squared else value)

    def get_config(self):
        return {
            **super().get_config(),
            "power_iterations": self.power_iterations,
            "gram": self.gram,
            "squared": self.squared,
            "seed": self.seed,
        }
