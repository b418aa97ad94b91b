"""LARS: layer-wise adaptive rate scaling.

You, Gitman and Ginsburg, Large Batch Training of Convolutional Networks, 2017.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.trust_ratios import LayerwiseRates
from keras_norm.core.trust_ratios import fractions
from keras_norm.core.trust_ratios import not_negative
from keras_norm.core.trust_ratios import trust_ratio
from keras_norm.core.trust_ratios import whole_norm
from keras_norm.core.unit_norms import dense

DENOMINATORS = ("sum", "norm_of_sum")
RATE_POSITIONS = ("before", "after")


@keras.saving.register_keras_serializable("keras_norm")
class LARS(LayerwiseRates):
    """v <- momentum v + rate r (g + l2 w), w <- w - v; r for each variable.

        r = trust_coefficient |w| / (|g| + l2 |w| + epsilon)

    so that the step of a variable is in proportion to its norm, however large
    its gradient is. r = 1 where |w| or |g| is 0, and for the variables of
    `exclude_from_adaptation`, which then take the step of SGD.

    Args:
        learning_rate: number or schedule. Since r is about
            `trust_coefficient`, it is larger than that of SGD: 1 to 30 as
            published.
        momentum: fraction of the last step that is kept.
        l2: weight decay, added to the gradient within the ratio. (Keras'
            `weight_decay` in `kwargs` is a step of its own, besides.)
        trust_coefficient: norm of a step relative to the variable's, for a
            learning rate of 1.
        epsilon: added to what r is divided by.
        nesterov: the step is that of the momentum to come.
        trust_clip: r is at most 1 / rate: no step is longer than SGD's with a
            learning rate of 1.
        denominator: "sum": as above; "norm_of_sum": |g + l2 w| + epsilon.
        rate_position: of the learning rate: "before" the momentum, as above,
            or "after" it: v <- momentum v + r (g + l2 w), w <- w - rate v.
        exclude_from_adaptation: variables with r = 1: a name or a list of
            names, each of a layer (its kernels) or a variable or any
            consecutive part of a variable's path; built layers or models, or
            a list of them (all their kernels); a function of the variable;
            [] for none. None: vectors, biases and the factors of
            normalizations; names given instead may be ["bias", "gamma", …].
        exclude_from_decay: variables with l2 = 0, likewise.
        name: name of the optimizer.
        **kwargs: `clipnorm`, `gradient_accumulation_steps` and what else all
            optimizers of Keras take.

    Raises:
        ValueError: values out of range, unknown names.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.Variable([[3.0], [4.0]], name="kernel")
    >>> optimizer = kn.optimizers.LARS(1.0, trust_coefficient=0.1)
    >>> optimizer.apply([keras.ops.array([[0.0], [200.0]])], [w])
    >>> print(keras.ops.convert_to_numpy(w).round(3))
    [[3. ]
     [3.5]]

    Reference:

    - You et al., Large Batch Training of Convolutional Networks,
      https://arxiv.org/abs/1708.03888

    Note:
        The paper and timm divide by |g| + l2 |w|, optax by |g + l2 w|
        (`denominator`). Paper and optax multiply by the learning rate before
        the momentum, timm after it (`rate_position`): they differ while the
        rate changes.
    """

    def __init__(
        self,
        learning_rate=0.001,
        momentum=0.9,
        l2=0.0,
        trust_coefficient=1e-3,
        epsilon=0.0,
        nesterov=False,
        trust_clip=False,
        denominator="sum",
        rate_position="before",
        exclude_from_adaptation=None,
        exclude_from_decay=None,
        name="lars",
        **kwargs,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        (self.momentum,) = fractions(momentum=momentum)
        self.l2, self.epsilon, self.trust_coefficient = not_negative(
            l2=l2, epsilon=epsilon, trust_coefficient=trust_coefficient
        )
        for argument, value, allowed in (
            ("denominator", denominator, DENOMINATORS),
            ("rate_position", rate_position, RATE_POSITIONS),
        ):
            if value not in allowed:
                raise errors.unknown_name(argument, value, list(allowed))
        self.nesterov = bool(nesterov)
        self.trust_clip = bool(trust_clip)
        self.denominator = denominator
        self.rate_position = rate_position
        self._configure(exclude_from_adaptation, exclude_from_decay)

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self.momentums = []
        if self.momentum:
            self.momentums = self.add_optimizer_variables(variables, "momentum")

    def _ratio(self, w, g, direction, l2, rate):
        weights, gradient = whole_norm(w), whole_norm(g)
        # What must not be 0 besides: of g + l2 w only the sum counts.
        size, below = gradient, gradient + l2 * weights
        if self.denominator == "norm_of_sum":
            size = below = whole_norm(direction)
        above = self.trust_coefficient * weights
        found = trust_ratio(above, below + self.epsilon, weights, size)
        if not self.trust_clip:
            return found
        positive = ops.where(rate > 0, rate, ops.ones_like(rate))
        return ops.minimum(found / positive, 1.0)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        w, g = dense(variable), dense(gradient, variable)
        g = ops.cast(g, w.dtype)
        rate = ops.cast(learning_rate, w.dtype)
        l2 = self.l2 if self.decays(index) else 0.0
        step = g + l2 * w if l2 else g
        if self.adapts(index):
            step = self._ratio(w, g, step, l2, rate) * step
        before = self.rate_position == "before"
        step = rate * step if before else step
        if self.momentum:
            kept = self.momentums[index]
            v = self.momentum * dense(kept) + step
            self.assign(kept, ops.cast(v, kept.dtype))
            step = step + self.momentum * v if self.nesterov else v
        step = step if before else rate * step
        dtype = keras.backend.standardize_dtype(variable.dtype)
        self.assign(variable, ops.cast(w - step, dtype))

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "l2": self.l2,
            "trust_coefficient": self.trust_coefficient,
            "epsilon": self.epsilon,
            "nesterov": self.nesterov,
            "trust_clip": self.trust_clip,
            "denominator": self.denominator,
            "rate_position": self.rate_position,
        }
