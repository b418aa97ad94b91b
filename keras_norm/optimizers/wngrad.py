"""WNGrad: gradient descent that learns its rate.

Wu, Ward and Bottou, WNGrad: Learn the Learning Rate in Gradient Descent, 2018.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.distribution import replica_count
from keras_norm.core.layer import finite
from keras_norm.core.trust_ratios import whole_norm
from keras_norm.core.unit_norms import dense
from keras_norm.core.unit_norms import joint_norm

BLOCKS = ("model", "variable")


@keras.saving.register_keras_serializable("keras_norm")
class WNGrad(keras.optimizers.Optimizer):
    """b <- b + |rate g|^2 / b,  w <- w - rate g / b.

    With weights of norm b and a gradient perpendicular to them, as those of
    weight normalization, b^2 would grow so by gradient descent. The rate
    1 / b falls until it suits the smoothness of the loss, and hardly changes
    then.

    Args:
        learning_rate: number or schedule; factor of the gradients (of the
            loss, as it were).
        initial: b at the beginning. Far below the norm of the first gradient
            the first step makes b far too large, |g|^2 / b.
        blocks: "model": one b for all, as published, by the norm of all
            gradients, which replicas of TensorFlow do not have at once.
            "variable": one for each variable.
        name: name of the optimizer.
        **kwargs: `weight_decay`, `gradient_accumulation_steps` and what else
            all optimizers of Keras take.

    Raises:
        ValueError: unknown blocks, an initial value that is not positive;
            `blocks="model"` on replicas of TensorFlow.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.Variable([1.0, 1.0])
    >>> optimizer = kn.optimizers.WNGrad()
    >>> optimizer.apply([keras.ops.array([0.0, 3.0])], [w])
    >>> print(keras.ops.convert_to_numpy(w).round(3))
    [1.  0.7]

    Reference:

    - Wu et al., WNGrad: Learn the Learning Rate in Gradient Descent,
      https://arxiv.org/abs/1803.02865

    Note:
        The paper has no learning rate (here 1). The square of it within b is
        as in ensmallen's program.
    """

    def __init__(
        self,
        learning_rate=1.0,
        initial=1.0,
        blocks="model",
        name="wngrad",
        **kwargs,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        if not finite("initial", initial) > 0:
            raise errors.received(
                "`initial` must be positive.", initial=initial
            )
        if blocks not in BLOCKS:
            raise errors.unknown_name("blocks", blocks, list(BLOCKS))
        self.initial = float(initial)
        self.blocks = blocks

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        alone = self.blocks == "variable"
        self._divisors = [
            self.add_variable(
                (),
                keras.initializers.Constant(self.initial),
                "float32",
                name=f"divisor_{i}",
            )
            for i in range(len(variables) if alone else 1)
        ]

    def _divided(self, divisor, size, rate):
        """The divisor after gradients of a norm, assigned, a tensor."""
        b = dense(divisor)
        step = ops.cast(rate, b.dtype) * ops.cast(size, b.dtype)
        b = b + step * (step / b)
        self.assign(divisor, b)
        return b

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if self.blocks == "model":
            self._refuse_replicas()
            pairs = zip(grads, trainable_variables, strict=True)
            grads = [dense(g, v) for g, v in pairs]
            size = joint_norm(grads)
            b = self._divided(self._divisors[0], size, learning_rate)
            grads = [g / ops.cast(b, g.dtype) for g in grads]
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _refuse_replicas(self):
        tensorflow = keras.backend.backend() == "tensorflow"
        if tensorflow and replica_count() > 1:
            raise errors.received(
                "`blocks` must be 'variable' on replicas of TensorFlow: they "
                "do not have all gradients at once.",
                blocks=self.blocks,
                replicas=replica_count(),
            )

    def update_step(self, gradient, variable, learning_rate):
        w, g = dense(variable), dense(gradient, variable)
        step = ops.cast(learning_rate, w.dtype) * ops.cast(g, w.dtype)
        if self.blocks == "variable":
            divisor = self._divisors[self._get_variable_index(variable)]
            b = self._divided(divisor, whole_norm(g), learning_rate)
            step = step / ops.cast(b, w.dtype)
        dtype = keras.backend.standardize_dtype(variable.dtype)
        self.assign(variable, ops.cast(w - step, dtype))

    def get_config(self):
        return {
            **super().get_config(),
            "initial": self.initial,
            "blocks": self.blocks,
        }
