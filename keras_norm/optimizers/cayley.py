"""What the two optimizers by Cayley's transform share."""

from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import manifolds
from keras_norm.core.kernel_choice import KernelChoice
from keras_norm.core.layer import positive
from keras_norm.core.matrix_projections import orthonormalized
from keras_norm.core.orthogonal import from_orthonormal
from keras_norm.core.sparse_gradients import densified
from keras_norm.ops.matrix_roots import widened
from keras_norm.ops.spectra import transposed

# The published program's: added to lengths of rows and to the norm of W.
_EPSILON = 1e-8
# Two Newton steps take an error of 0.06 to 6e-6; above, QR is called for.
_FAR = 0.05


class Rotation:
    """W = A X - X^T A^T, A = D^T - X^T (X D^T) / 2, of rows X and direction D.

    W (count, fan-in, fan-in) is skew-symmetric, and X W^T the direction within
    the tangent space at X.
    """

    def __init__(self, x, direction):
        inner = ops.matmul(x, transposed(direction))
        self.x = x
        # A^T: rows again.
        self.a = direction - 0.5 * ops.matmul(transposed(inner), x)

    def norm(self):
        """The largest absolute column sum of W, (count, 1, 1)."""
        half = ops.matmul(transposed(self.a), self.x)
        sums = ops.sum(ops.abs(half - transposed(half)), axis=-2, keepdims=True)
        return ops.max(sums, axis=-1, keepdims=True)

    def apply(self, z):
        """Z W^T, without W: its rank is twice the rows."""
        left = ops.matmul(ops.matmul(z, transposed(self.x)), self.a)
        right = ops.matmul(ops.matmul(z, transposed(self.a)), self.x)
        return left - right


def transformed(rotation, direction, rate, iterations):
    """(I - rate W / 2)^(-1) (I + rate W / 2) X^T, transposed, iteratively."""
    x = rotation.x
    y = x + rate * direction
    for _ in range(iterations):
        y = x + 0.5 * rate * rotation.apply(x + y)
    return y


class Cayley(keras.optimizers.Optimizer):
    """Mixed into an optimizer of Keras, before its class.

    A subclass gives `moved`, and takes the arguments of `_configure` besides
    those of the optimizer.
    """

    def _configure(
        self,
        where,
        axis,
        stiefel_factor,
        steps,
        q,
        reorthogonalize_every,
        polish,
    ):
        positive("cayley_steps", steps)
        if reorthogonalize_every is not None:
            positive("reorthogonalize_every", reorthogonalize_every)
        for name, value in (("q", q), ("stiefel_factor", stiefel_factor)):
            if not value > 0:
                raise errors.received(
                    f"`{name}` must be positive.", **{name: value}
                )
        if not q < 1:
            raise errors.received(
                "`q` must be less than 1: the iteration would not contract.",
                q=q,
            )
        manifolds.refuse_overwriting(self)
        self.stiefel_factor = float(stiefel_factor)
        self.cayley_steps = steps
        self.q = float(q)
        self.reorthogonalize_every = reorthogonalize_every
        self.polish = bool(polish)
        self._choice = KernelChoice(where, axis)

    def moved(self, index, x, gradient, rate) -> Any:
        """The rows after the step.

        Args:
            index: of the variable.
            x: rows of length 1, (count, outputs, fan-in).
            gradient: of the loss, as x.
            rate: the learning rate, a scalar.
        """
        raise NotImplementedError

    def rate_of(self, rotation, rate):
        """min(rate, 2 q / |W|): up to there the iteration contracts."""
        return ops.minimum(2.0 * self.q / (rotation.norm() + _EPSILON), rate)

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        manifolds.put_on(manifolds.Stiefel(), self._choice, variables)
        super().build(variables)
        self._place()

    def _place(self):
        manifolds.place(self._choice.readings, orthonormalized)

    def _apply_weight_decay(self, variables):
        rest = [
            v
            for v in variables
            if self._get_variable_index(v) not in self._choice.readings
        ]
        # PyTorch's fused operations take no empty list.
        if rest:
            super()._apply_weight_decay(rest)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        reading = self._choice.readings.get(index)
        if reading is None:
            super().update_step(gradient, variable, learning_rate)
            return
        x = reading.matrices(widened(ops.convert_to_tensor(variable)))
        g = reading.matrices(widened(densified(gradient, variable)))
        x = x / (manifolds.lengths(x) + _EPSILON)
        rate = ops.cast(learning_rate, x.dtype) * self.stiefel_factor
        y = self._restored(self.moved(index, x, ops.cast(g, x.dtype), rate))
        y = ops.cast(reading.of_matrices(y), variable.dtype)
        self.assign(variable, y)

    def _restored(self, y):
        """Rows made orthonormal again, where the iteration has left them."""
        every = self.reorthogonalize_every
        if every is None and not self.polish:
            return y
        far = ops.convert_to_tensor(False)
        if self.polish:
            far = ops.greater(from_orthonormal(y), _FAR)
        if every is not None:
            update = ops.convert_to_tensor(self.iterations) + 1
            far = ops.logical_or(far, ops.equal(ops.mod(update, every), 0))
        return ops.cond(
            far,
            lambda: orthonormalized(y),
            lambda: (
                manifolds.polished(manifolds.polished(y)) if self.polish else y
            ),
        )

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        if self.use_ema:
            self._place()

    def get_config(self):
        return {
            **super().get_config(),
            **self._choice.config(),
            "stiefel_factor": self.stiefel_factor,
            "cayley_steps": self.cayley_steps,
            "q": self.q,
            "reorthogonalize_every": self.reorthogonalize_every,
            "polish": self.polish,
        }
