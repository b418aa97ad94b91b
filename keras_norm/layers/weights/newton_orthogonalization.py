"""Orthogonalization by Newton's iteration (ONI).

Huang et al., 2020, https://arxiv.org/abs/2004.00887
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import orthogonal
from keras_norm.core import weight_vectors
from keras_norm.core.layer import positive
from keras_norm.core.matrix_parametrization import RowParametrization

MODES = ("auto", "row", "column")


@keras.saving.register_keras_serializable("keras_norm")
class NewtonOrthogonalization(RowParametrization):
    """W = g B_T Z / sqrt(n), S = Z Z^T + epsilon I, n = |S| (Frobenius).

    B_0 = I, B_{t+1} = 1.5 B_t - 0.5 B_t^3 S / n. T, the number of steps,
    controls how orthogonal W is: 0 only bounds its singular values by 1, many
    make all of them 1. Matrix products alone, in training and inference.

    Args:
        layer: the layer to wrap; its kernel is V, Z = V - mean of each row.
        iterations: T; the authors use 5 for convolutions, 4 for dense layers.
        axis: axes of the kernel that are output neurons, the rows; None: from
            the type of `layer`.
        groups: groups of rows that are orthogonalized by themselves.
        group_size: rows of a group instead; the last may have less.
        mode: "row": W W^T = I. "column": W^T W = I, for more rows than
            columns. "auto": the one that can be met.
        center: subtract the mean of each row. None: in "row" mode; centred
            columns cannot be orthonormal, nor can as many centred rows as a
            row has entries (a square matrix), one of which is then lost.
        epsilon: added to the diagonal of S.
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
        ValueError: groups that do not fit; otherwise as
            `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.NewtonOrthogonalization(keras.layers.Dense(3), 12)
    >>> y = layer(np.ones((2, 8), "float32"))
    >>> w = keras.ops.convert_to_numpy(layer.effective_kernel())
    >>> bool(np.allclose(w.T @ w, np.eye(3), atol=1e-3))
    True

    Reference:

    - Huang et al., Controllable Orthogonalization in Training DNNs, CVPR
      2020, https://arxiv.org/abs/2004.00887

    Note: the authors' class for columns does not divide S by its norm, and
    diverges, and centres rows; here it divides and does not centre. The steps
    are the coupled ones of `keras_norm.ops.inverse_square_root`, equal in
    exact arithmetic: the paper's drift away from 15 steps on.
    """

    def __init__(
        self,
        layer,
        iterations=5,
        axis=None,
        groups=None,
        group_size=None,
        mode="auto",
        center=None,
        epsilon=1e-5,
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
        positive("iterations", iterations, 0)
        if mode not in MODES:
            raise errors.unknown_name("mode", mode, list(MODES))
        self.iterations = iterations
        self.mode = mode
        self.center = center
        self.epsilon = float(epsilon)

    def check(self, kernel):
        """Refuse neurons that centring makes 0."""
        if self._centred(kernel):
            weight_vectors.check_fan_in(kernel)
        self.cut(kernel)

    def _by_rows(self, kernel):
        if self.mode == "auto":
            return self.cut(kernel).size <= kernel.fan_in
        return self.mode == "row"

    def _centred(self, kernel):
        return self._by_rows(kernel) if self.center is None else self.center

    def map(self, v, kernel, state, training=False):
        """Newton steps on each group of rows."""
        m = kernel.matrices(v, self.parts(kernel))
        if self._centred(kernel):
            m = weight_vectors.centred(m, -1)
        cut = self.cut(kernel)
        m = cut.cut(m)
        if self._by_rows(kernel):
            # Rows that fill up a group are 0 and stay 0; epsilon alone is
            # theirs on the diagonal, as of every row.
            m = orthogonal.by_newton(m, self.iterations, self.epsilon)
        else:
            columns = orthogonal.transposed(m)
            columns = orthogonal.by_newton(
                columns, self.iterations, self.epsilon
            )
            m = orthogonal.transposed(columns)
        return kernel.of_matrices(cut.joined(m)), {}

    def gain(self, w, kernel):
        """The length of a row; of orthonormal columns rows have any."""
        if self._by_rows(kernel):
            return super().gain(w, kernel)
        return ops.ones(kernel.units, w.dtype)

    def violation(self, w, kernel):
        """How far the singular values are from 1, at most."""
        cut = self.cut(kernel)
        m = cut.cut(kernel.matrices(w, self.parts(kernel)))
        values = ops.svd(m, compute_uv=False)
        if not cut.missing:
            return ops.max(ops.abs(values - 1.0))
        # Rows that fill up the last group have the value 0.
        index = ops.arange(values.shape[-1], dtype="int32")
        rows = ops.where(
            ops.arange(values.shape[0], dtype="int32") % cut.count
            == cut.count - 1,
            cut.size - cut.missing,
            cut.size,
        )
        there = ops.cast(index < rows[:, None], values.dtype)
        return ops.max(ops.abs(values - 1.0) * there)
