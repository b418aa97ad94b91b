"""Cayley Adam: Adam with orthonormal neurons.

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
class CayleyAdam(Cayley, keras.optimizers.Adam):
    """X <- (I + a W / 2)^(-1) (I - a W / 2) X for orthonormal neurons X.

    X (fan-in, outputs) is a kernel as a matrix whose columns are the output
    neurons, G its gradient, t counts updates:

        M = beta_1 M + (1 - beta_1) G
        v = beta_2 v + (1 - beta_2) |G|^2
        s = sqrt(v / (1 - beta_2^t) + epsilon),  c = 1 - beta_1^t
        W = (A - A^T) / (s c),  A = M X^T - X (X^T M) X^T / 2
        a = min(learning rate, 2 q / |W|_1)
        Y = X - a M;  `cayley_steps` times  Y = X - a W (X + Y) / 2
        M = s c W X,  X = Y

    |G| is the Frobenius norm: v is one number for each matrix, and a step has
    about the length of the learning rate for the matrix as a whole. The rate
    that suits is larger than that of Adam for single weights; see
    `stiefel_factor`.

    The chosen kernels are made orthonormal (QR) when the optimizer is built.
    Weight decay leaves them out. All others take the step of
    `keras.optimizers.Adam`.

    Args:
        learning_rate: number or schedule, as in `keras.optimizers.Adam`.
        beta_1: of both kinds of kernels.
        beta_2: of both kinds of kernels (0.99 as published, 0.999 in Adam).
        epsilon: within the root for the chosen kernels, outside for others.
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
    >>> optimizer = kn.optimizers.CayleyAdam(0.5, where="kernel")
    >>> optimizer.build([w])
    >>> optimizer.apply([keras.ops.ones((2, 1))])
    >>> print(keras.ops.convert_to_numpy(w).round(4))
    [[0.542 ]
     [0.8404]]

    Reference:

    - Li, Fuxin and Todorovic, Efficient Riemannian Optimization on the Stiefel
      Manifold via the Cayley Transform, ICLR 2020,
      https://arxiv.org/abs/2002.01113

    Note:
        As the published program: Y starts from M without its correction; the
        iteration forgets it but for (a |W| / 2)^steps.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.99,
        epsilon=1e-8,
        where=None,
        axis=None,
        stiefel_factor=1.0,
        cayley_steps=5,
        q=0.5,
        reorthogonalize_every=100,
        polish=True,
        name="cayley_adam",
        **kwargs,
    ):
        if kwargs.pop("amsgrad", False):
            raise errors.received(
                "`amsgrad` must be False: the method has no such variant.",
                amsgrad=True,
            )
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, name=name, **kwargs
        )
        self._configure(
            where,
            axis,
            stiefel_factor,
            cayley_steps,
            q,
            reorthogonalize_every,
            polish,
        )

    def add_variable_from_reference(
        self, reference_variable, name=None, initializer="zeros"
    ):
        if name == "velocity":
            for reading in self._choice.readings.values():
                if reading.kernel.value is reference_variable:
                    # A number for each matrix.
                    path = reference_variable.path.replace("/", "_")
                    return self.add_variable(
                        (reading.shape[0], 1, 1),
                        initializer,
                        reference_variable.dtype,
                        name=f"{path}_{name}",
                    )
        return super().add_variable_from_reference(
            reference_variable, name, initializer
        )

    def moved(self, index, x, gradient, rate):
        reading = self._choice.readings[index]
        momentum, velocity = self._momentums[index], self._velocities[index]
        dtype = x.dtype
        m = reading.matrices(ops.convert_to_tensor(momentum))
        m = self.beta_1 * ops.cast(m, dtype) + (1 - self.beta_1) * gradient
        square = ops.sum(ops.square(gradient), axis=(-2, -1), keepdims=True)
        v = self.beta_2 * ops.cast(ops.convert_to_tensor(velocity), dtype)
        v = v + (1 - self.beta_2) * square
        self.assign(velocity, ops.cast(v, velocity.dtype))
        t = ops.cast(self.iterations + 1, dtype)
        first = 1 - ops.power(ops.cast(self.beta_1, dtype), t)
        second = 1 - ops.power(ops.cast(self.beta_2, dtype), t)
        divisor = ops.sqrt(v / second + self.epsilon) * first
        rotation = Rotation(x, -m / divisor)
        kept = -divisor * rotation.apply(x)
        kept = ops.cast(reading.of_matrices(kept), momentum.dtype)
        self.assign(momentum, kept)
        rate = self.rate_of(rotation, rate)
        return transformed(rotation, -m, rate, self.cayley_steps)
