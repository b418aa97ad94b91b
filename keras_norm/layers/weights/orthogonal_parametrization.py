"""Orthogonal kernels as a smooth function of free parameters.

Lezcano-Casado, 2019, https://arxiv.org/abs/1909.09501
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import orthogonal
from keras_norm.core.matrix_parametrization import MatrixParametrization
from keras_norm.core.orthogonal import transposed


@keras.saving.register_keras_serializable("keras_norm")
class OrthogonalParametrization(MatrixParametrization):
    """W = base Q(X), Q(X) with orthonormal columns; X is free.

    For a kernel as (outputs, F), X has n = max(outputs, F) rows and k =
    min(outputs, F) columns: W^T W = I for F < outputs, else W W^T = I. With A
    = tril(X) - tril(X)^T, padded to (n, n),

    - "cayley": Q = (I - A/2)^(-1) (I + A/2);
    - "matrix_exponential": Q = exp(A);
    - "householder": Q = H_1 ... H_k, reflections at the columns of tril(X)
      with a unit diagonal, columns times the sign of the diagonal of X;

    the first k columns of each. The diagonal of X has no gradient. `base`, an
    orthogonal (n, n) matrix that is kept, makes W at the start the Q of the
    layer's own kernel (trivialization).

    Args:
        layer: the layer to wrap; its kernel is X.
        method: "cayley", "matrix_exponential" or "householder".
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        trivialize: keep a base. Without, W at the start is Q(X), and Cayley
            cannot reach matrices with an eigenvalue -1.
        split_gates: each gate of a recurrent layer by itself.
        per_conv_group: each group of a convolution by itself.
        scale: multiply by a scale g for each neuron.
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
        ValueError: as `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.OrthogonalParametrization(keras.layers.Dense(3))
    >>> y = layer(np.ones((2, 8), "float32"))
    >>> w = keras.ops.convert_to_numpy(layer.effective_kernel())
    >>> bool(np.allclose(w.T @ w, np.eye(3), atol=1e-5))
    True

    Reference:

    - Lezcano-Casado & Martinez-Rubio, Cheap Orthogonal Constraints in Neural
      Networks, ICML 2019, https://arxiv.org/abs/1901.08428
    - Lezcano-Casado, Trivializations for Gradient-Based Optimization on
      Manifolds, NeurIPS 2019, https://arxiv.org/abs/1909.09501
    - Helfrich, Willmott & Ye, Orthogonal Recurrent Neural Networks with
      Scaled Cayley Transform, ICML 2018, https://arxiv.org/abs/1707.09520

    Note: PyTorch starts X at 0 and base at W; here X is the layer's kernel as
    it is and base = W Q(X)^T, since no weight of the layer is ever written.
    Weight decay of X draws W to base.
    """

    def __init__(
        self,
        layer,
        method="cayley",
        axis=None,
        trivialize=True,
        split_gates=True,
        per_conv_group=False,
        **kwargs,
    ):
        super().__init__(
            layer,
            split_gates=split_gates,
            per_conv_group=per_conv_group,
            axis=axis,
            **kwargs,
        )
        if method not in orthogonal.MAPS:
            raise errors.unknown_name("method", method, list(orthogonal.MAPS))
        self.method = method
        self.trivialize = trivialize

    def _tall(self, w, kernel):
        """(matrices, n, k), and True where the outputs are the columns."""
        m = kernel.matrices(w, self.parts(kernel))
        wide = m.shape[-2] < m.shape[-1]
        return (transposed(m) if wide else m), wide

    def initial_state(self, kernel):
        """The base."""
        if not self.trivialize:
            return {}
        count, *sizes = kernel.matrices_shape(self.parts(kernel))

        def base(shape, dtype=None):
            x, _ = self._tall(self.source(kernel), kernel)
            q = orthogonal.MAPS[self.method](x, full=True)
            found = ops.matmul(orthogonal.completed(x), transposed(q))
            return ops.cast(found, dtype)

        return {"base": ((count, max(sizes), max(sizes)), base)}

    def map(self, v, kernel, state, training=False):
        """The orthogonal matrix of the free parameter."""
        x, wide = self._tall(v, kernel)
        q = orthogonal.MAPS[self.method](x)
        if self.trivialize:
            q = ops.matmul(ops.cast(state["base"], q.dtype), q)
        return kernel.of_matrices(transposed(q) if wide else q), {}

    def right_inverse(self, w, kernel):
        """X = 0 (-I for "householder"), base = the Q of `w`."""
        if not self.trivialize:
            raise errors.received(
                "A given kernel can only be taken with `trivialize=True`.",
                trivialize=self.trivialize,
            )
        tall, wide = self._tall(w, kernel)
        x = 0.0 * tall
        if self.method == "householder":
            x = x - orthogonal.first_columns(tall)
        base = orthogonal.completed(tall)
        return kernel.of_matrices(transposed(x) if wide else x), {"base": base}

    def gain(self, w, kernel):
        """The neurons are not scaled alone: the scale is 1."""
        return ops.ones(kernel.units, w.dtype)

    def violation(self, w, kernel):
        """The largest entry of |W W^T - I| or |W^T W - I|."""
        tall, _ = self._tall(w, kernel)
        return orthogonal.from_orthonormal(tall)
