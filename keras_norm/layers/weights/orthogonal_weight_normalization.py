"""Orthogonal weight normalization: orthonormal weight vectors.

Huang et al., 2018, https://arxiv.org/abs/1709.06079
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import orthogonal
from keras_norm.core import weight_vectors
from keras_norm.core.matrix_parametrization import RowParametrization

SOLVERS = ("eigh", "newton")
# Enough for a condition of the gram matrix of 1e6 in float32.
_NEWTON_STEPS = 20


@keras.saving.register_keras_serializable("keras_norm")
class OrthogonalWeightNormalization(RowParametrization):
    """W = g (Z Z^T)^(-1/2) Z, Z = V - mean of each row, in groups of rows.

    The rows are the output neurons. In each group W W^T = I: of all matrices
    of orthonormal rows the nearest to Z. The gradient of the inverse root is
    a closed form without differences of eigenvalues, finite where they are
    equal, as at an orthogonal start.

    Args:
        layer: the layer to wrap; its kernel is V.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        groups: number of groups of rows, which must divide the outputs.
        group_size: rows of a group instead; the last may have less. Neither:
            as many rows as can be orthonormal, F - 1 (F without `center`) for
            a fan-in of F.
        center: subtract the mean of each row.
        epsilon: added to the diagonal of Z Z^T.
        solver: "eigh" or "newton", the same by 20 matrix products of Newton's
            iteration.
        split_gates: each gate of a recurrent layer by itself.
        per_conv_group: each group of a convolution by itself.
        scale: multiply by a scale g for each neuron.
        scale_initializer: initializer of g, or a number: 2 ** 0.5 suits
            layers before a ReLU.
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
        ValueError: groups of more rows than can be orthonormal; otherwise as
            `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.OrthogonalWeightNormalization(keras.layers.Dense(3))
    >>> y = layer(np.ones((2, 8), "float32"))
    >>> w = keras.ops.convert_to_numpy(layer.effective_kernel())
    >>> bool(np.allclose(w.T @ w, np.eye(3), atol=1e-5))
    True

    Reference:

    - Huang et al., Orthogonal Weight Normalization: Solution to Optimization
      over Multiple Dependent Stiefel Manifolds in Deep Neural Networks, AAAI
      2018, https://arxiv.org/abs/1709.06079

    Note: the authors' PyTorch program has no epsilon, as the default here;
    their Lua program adds 1e-7 to the diagonal of Z Z^T / F.
    """

    def __init__(
        self,
        layer,
        axis=None,
        groups=None,
        group_size=None,
        center=True,
        epsilon=0.0,
        solver="eigh",
        split_gates=True,
        per_conv_group=False,
        scale=True,
        **kwargs,
    ):
        super().__init__(
            layer,
            groups=groups,
            group_size=group_size,
            split_gates=split_gates,
            per_conv_group=per_conv_group,
            axis=axis,
            scale=scale,
            **kwargs,
        )
        if solver not in SOLVERS:
            raise errors.unknown_name("solver", solver, list(SOLVERS))
        self.center = center
        self.epsilon = float(epsilon)
        self.solver = solver

    def check(self, kernel):
        """Refuse groups that are too large."""
        weight_vectors.check_fan_in(kernel, 2 if self.center else 1)
        self.cut(kernel)

    def most_rows(self, kernel, rows):
        """As many as a row has entries, one less when centred."""
        return kernel.fan_in - (1 if self.center else 0)

    def map(self, v, kernel, state, training=False):
        """Make the rows of each group orthonormal."""
        m = kernel.matrices(v, self.parts(kernel))
        if self.center:
            m = weight_vectors.centred(m, -1)
        cut = self.cut(kernel)
        m, filler = cut.cut(m), cut.filler(m.dtype)
        if self.solver == "newton":
            m = orthogonal.by_newton(m, _NEWTON_STEPS, self.epsilon, filler)
        else:
            m = orthogonal.symmetric(m, self.epsilon, filler)
        return kernel.of_matrices(cut.joined(m)), {}

    def violation(self, w, kernel):
        """The largest entry of |W W^T - I| over the groups."""
        cut = self.cut(kernel)
        m = cut.cut(kernel.matrices(w, self.parts(kernel)))
        products = orthogonal.gram(m)
        filler = cut.filler(m.dtype)
        if filler is not None:
            products = products + filler
        eye = orthogonal.matrix_roots.identity(cut.size, m.dtype)
        return ops.max(ops.abs(products - eye))
