"""Riemannian optimization of kernels, around any optimizer of Keras.

Huang, Liu, Lang, Yu, Wang and Li, Orthogonal Weight Normalization, AAAI 2018
(Stiefel); Cho and Lee, Riemannian Approach to Batch Normalization, NeurIPS
2017 (Grassmann).
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import manifolds
from keras_norm.core.kernel_choice import KernelChoice
from keras_norm.core.layer import positive
from keras_norm.core.optimizer_wrapper import OptimizerWrapper
from keras_norm.core.optimizer_wrapper import innermost
from keras_norm.core.optimizer_wrapper import position
from keras_norm.core.sparse_gradients import densified
from keras_norm.ops.matrix_roots import widened

MANIFOLDS = {
    "stiefel": manifolds.Stiefel,
    "oblique": manifolds.Oblique,
    "grassmann": manifolds.Grassmann,
}


@keras.saving.register_keras_serializable("keras_norm")
class Riemannian(OptimizerWrapper):
    """X <- R_X(P_X(D)), D what the inner optimizer adds to X given P_X(G).

    X is a kernel as a matrix with a row for each output neuron, G its
    gradient, P_X the projection on the tangent space at X, R_X a retraction:

    - "stiefel", X X^T = I: P_X(G) = G - (G X^T + X G^T) X / 2. R_X(D): the
      rows of X + D by Gram-Schmidt ("qr"), or the nearest orthonormal ones
      ("polar").
    - "oblique", rows x of length 1: P_x(g) = g - (g.x) x. R_x(d):
      (x + d) / |x + d| ("normalize"), or x cos|d| + d sin|d| / |d|
      ("geodesic").
    - "grassmann", the span of `dimension` rows, X X^T = I:
      P_X(G) = G - G X^T X. R_X(D) as for the two others: "geodesic" (if
      `dimension` is 1), "qr", "polar". With `dimension=1` each neuron is a
      point of G(1, fan-in): what a neuron is before batch normalization,
      whose output knows neither length nor sign.

    With `SGD` this is Riemannian gradient descent. Momentum and the moments
    of other optimizers stay in the space around the manifold; their step is
    projected where it is made.

    The chosen kernels are put on the manifold when the optimizer is built,
    and are on it after every step. All others take the inner step.

    Args:
        inner_optimizer: a Keras optimizer, or its name. All options are its:
            learning rate, clipping (of G), accumulation, averages.
        manifold: "stiefel", "oblique" or "grassmann".
        retraction: a name as above; None: the first that is given for the
            manifold.
        where: which kernels: a name or a list of names, each of a layer or a
            variable or any consecutive part of a variable's path ("dense_1",
            "lstm_cell/recurrent_kernel"); built layers or models, or a list
            of them; a function of a variable. None: all variables named
            kernel or ..._kernel that can lie on the manifold, but those of one
            output and depthwise ones. Recurrent
            kernels are matrices of each gate. Only layers tell the gates of
            the other kernels of a recurrent layer, convolution groups, and
            which axes are outputs.
        axis: axis or axes of the output neurons, or a name, as in
            `keras_norm.constraints.UnitNorm`. None: as the layers say, or the
            last axis.
        dimension: rows of each subspace, "grassmann" only; consecutive output
            neurons form one. None: 1.
        name: name of the optimizer.

    Raises:
        ValueError: unknown names; an inner optimizer that overwrites the
            weights by averages; when it is built, a chosen kernel that cannot
            lie on the manifold ("stiefel": with more output neurons than
            weights of each) or has a constraint, or none chosen.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.Variable([[3.0], [4.0]], name="kernel")
    >>> optimizer = kn.optimizers.Riemannian(
    ...     keras.optimizers.SGD(0.5), "oblique", where="kernel")
    >>> optimizer.build([w])
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[0.6]
     [0.8]]
    >>> optimizer.apply([keras.ops.ones((2, 1))])
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[0.5174]
     [0.8557]]

    Reference:

    - Huang et al., Orthogonal Weight Normalization: Solution to Optimization
      over Multiple Dependent Stiefel Manifolds in Deep Neural Networks, AAAI
      2018, https://arxiv.org/abs/1709.06079
    - Cho and Lee, Riemannian Approach to Batch Normalization, NeurIPS 2017,
      https://arxiv.org/abs/1709.09603

    Note:
        Weight decay of the inner optimizer leaves the chosen kernels out.
        Cho and Lee carry momentum along the geodesic and clip the projected
        gradient; here momentum is projected, and the inner optimizer clips
        before. An average of points (`use_ema`) is put on the manifold when
        it becomes the weights at the end of training.
    """

    def __init__(
        self,
        inner_optimizer,
        manifold="stiefel",
        retraction=None,
        where=None,
        axis=None,
        dimension=None,
        name=None,
    ):
        super().__init__(inner_optimizer, name)
        if manifold not in MANIFOLDS:
            raise errors.unknown_name("manifold", manifold, list(MANIFOLDS))
        if dimension is not None:
            positive("dimension", dimension)
            if manifold != "grassmann":
                raise errors.received(
                    "`dimension` is of the subspaces of manifold='grassmann'.",
                    manifold=manifold,
                    dimension=dimension,
                )
        options = [dimension or 1] if manifold == "grassmann" else []
        self._manifold = MANIFOLDS[manifold](*options)
        allowed = list(self._manifold.retractions)
        if retraction is not None and retraction not in allowed:
            raise errors.unknown_name("retraction", retraction, allowed)
        target = innermost(self.inner_optimizer)
        manifolds.refuse_overwriting(target)
        self.manifold = manifold
        self.retraction = retraction
        self.dimension = dimension
        self._retract = self._manifold.retractions[retraction or allowed[0]]
        self._choice = KernelChoice(where, axis)

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        manifolds.put_on(self._manifold, self._choice, variables)
        super().build(variables)
        self._place()

    def _place(self):
        manifolds.place(
            self._choice.readings, lambda m: self._retract(m, 0.0 * m)
        )

    def _join(self, target):
        super()._join(target)
        decay = target._apply_weight_decay

        def apply_weight_decay(variables):
            rest = [
                v for v in variables if not self.takes_part(position(target, v))
            ]
            # PyTorch's fused operations take no empty list.
            if rest:
                decay(rest)

        target._apply_weight_decay = apply_weight_decay

    def takes_part(self, index):
        return index in self._choice.readings

    def update(self, step, gradient, variable, learning_rate):
        index = position(innermost(self.inner_optimizer), variable)
        reading = self._choice.readings[index]

        def matrices(t):
            return reading.matrices(widened(ops.convert_to_tensor(t)))

        def like(m, t):
            return ops.cast(reading.of_matrices(m), t.dtype)

        # A copy: the step may change the variable in place.
        x = ops.copy(matrices(variable))
        gradient = densified(gradient, variable)
        tangent = self._manifold.tangent(x, matrices(gradient))
        step(like(tangent, gradient), variable, learning_rate)
        moved = self._manifold.tangent(x, matrices(variable) - x)
        self.assign(variable, like(self._retract(x, moved), variable))

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        if innermost(self.inner_optimizer).use_ema:
            self._place()

    def get_config(self):
        return {
            **super().get_config(),
            "manifold": self.manifold,
            "retraction": self.retraction,
            **self._choice.config(),
            "dimension": self.dimension,
        }
