"""Cayley SGD: stochastic gradient descent with orthonormal neurons.

Li, Fuxin and Todorovic, Efficient Riemannian Optimization on the Stiefel
Manifold via the Cayley Transform, ICLR 2020.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.optimizers.cayley import Cayley
from keras_norm.optimizers.cayley import Rotation
from keras_norm.optimizers.cayley import transformed


@keras.saving.register_keras_serializable("keras_norm")
class CayleySGD(Cayley, keras.optimizers.SGD):
    """X <- (I - a W / 2)^(-1) (I + a W / 2) X for orthonormal neurons X.

    X (fan-in, outputs) is a kernel as a matrix whose columns are the output
    neurons, G its gradient:

        M = momentum M - G
        W = A - A^T,  A = M X^T - X (X^T M) X^T / 2
        a = min(learning rate, 2 q / |W|_1)
        Y = X + a M;  `cayley_steps` times  Y = X + a W (X + Y) / 2
        M = W X,  X = Y

    W is skew-symmetric, so that X^T X = I stays; the iteration leaves a small
    error of it, see `polish`. W X is M projected on the tangent space at X.

    The chosen kernels are made orthonormal (QR) when the optimizer is built.
    Weight decay leaves them out. All others take the step of
    `keras.optimizers.SGD`.

    Args:
        learning_rate: number or schedule, as in `keras.optimizers.SGD`.
        momentum: of both kinds of kernels.
        where: which kernels, as in `keras_norm.optimizers.Riemannian`. None:
            all kernels with no more outputs than weights of each, as
            published.
        axis: output axes, as in `keras_norm.optimizers.Riemannian`.
        stiefel_factor: learning rate of the chosen kernels divided by that of
            the others (the published program has a rate for each).
        cayley_steps: steps of the iteration.
        q: bound of a |W| / 2, less than 1, where the iteration contracts.
        reorthogonalize_every: QR at every so many updates; None: never. (The
            published program does it at random, one step in 101.)
        polish: two Newton steps Y (3 I - Y^T Y) / 2 after the iteration, which
            take an error of 0.05 to 4e-6, and QR where it is larger. False:
            as published.
        name: name of the optimizer.
        **kwargs: `weight_decay`, `clipnorm`, `gradient_accumulation_steps` and
            what else all optimizers of Keras take.

    Raises:
        ValueError: values out of range; when it is built, a chosen kernel with
            more outputs than weights of each or with a constraint, or none
            chosen.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.Variable([[3.0], [4.0]], name="kernel")
    >>> optimizer = kn.optimizers.CayleySGD(0.5, where="kernel")
    >>> optimizer.build([w])
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[0.6]
     [0.8]]
    >>> optimizer.apply([keras.ops.ones((2, 1))])
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[0.5172]
     [0.8559]]

    Reference:

    - Li, Fuxin and Todorovic, Efficient Riemannian Optimization on the Stiefel
      Manifold via the Cayley Transform, ICLR 2020,
      https://arxiv.org/abs/2002.01113

    Note:
        The published program computes M = W X and does not keep it, so that
        its momentum has no effect after the first step. This follows the
        paper.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.0,
        where=None,
        axis=None,
        stiefel_factor=1.0,
        cayley_steps=5,
        q=0.5,
        reorthogonalize_every=100,
        polish=True,
        name="cayley_sgd",
        **kwargs,
    ):
        if kwargs.pop("nesterov", False):
            raise errors.received(
                "`nesterov` must be False: the method has no such momentum.",
                nesterov=True,
            )
        super().__init__(learning_rate, momentum, name=name, **kwargs)
        self._configure(
            where,
            axis,
            stiefel_factor,
            cayley_steps,
            q,
            reorthogonalize_every,
            polish,
        )

    def moved(self, index, x, gradient, rate):
        reading = self._choice.readings[index]
        direction = -gradient
        if self.momentum:
            kept = self.momentums[index]
            m = reading.matrices(ops.convert_to_tensor(kept))
            direction = self.momentum * ops.cast(m, x.dtype) - gradient
        rotation = Rotation(x, direction)
        if self.momentum:
            m = ops.cast(reading.of_matrices(rotation.apply(x)), kept.dtype)
            self.assign(kept, m)
        rate = self.rate_of(rotation, rate)
        return transformed(rotation, direction, rate, self.cayley_steps)
