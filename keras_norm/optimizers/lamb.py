"""LAMB: layer-wise adaptive moments for batch training.

You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer and Hsieh,
Large Batch Optimization for Deep Learning, ICLR 2020.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import finite
from keras_norm.core.trust_ratios import LayerwiseRates
from keras_norm.core.trust_ratios import fractions
from keras_norm.core.trust_ratios import not_negative
from keras_norm.core.trust_ratios import trust_ratio
from keras_norm.core.trust_ratios import whole_norm
from keras_norm.core.unit_norms import dense


@keras.saving.register_keras_serializable("keras_norm")
class LAMB(LayerwiseRates):
    """w <- w - rate f(|w|) / |u| u, u the direction of Adam, for each variable.

        m = beta_1 m + (1 - beta_1) g,  v = beta_2 v + (1 - beta_2) g^2
        u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon) + decay w

    f is the identity, or limits |w| to `norm_bounds`. The ratio f(|w|) / |u|
    is 1 where |w| or |u| is 0, and for the variables of
    `exclude_from_adaptation`, which then take the step of Adam.

    Args:
        learning_rate: number or schedule: norm of a step relative to that of
            the variable.
        beta_1: fraction of the mean of gradients that is kept.
        beta_2: fraction of the mean of their squares that is kept.
        epsilon: added to the root.
        decay: weight decay, within the ratio. (Keras' `weight_decay` in
            `kwargs` is a step of its own, besides.)
        bias_correction: division by 1 - beta^t. False: without, as some
            programs.
        gradient_averaging: the factor 1 - beta_1 of g in m.
        norm_bounds: (least, largest) |w| for the ratio; None: as it is.
        exclude_from_adaptation: variables without ratio: a name or a list of
            names, each of a layer (its kernels) or a variable or any
            consecutive part of a variable's path; built layers or models, or
            a list of them (all their kernels); a function of the variable;
            [] for none. None: vectors, biases and the factors of
            normalizations; names given instead may be ["bias", "gamma", …].
        exclude_from_decay: variables without decay, likewise.
        name: name of the optimizer.
        **kwargs: `global_clipnorm` (1 in some programs),
            `gradient_accumulation_steps` and what else all optimizers of
            Keras take.

    Raises:
        ValueError: values out of range, unknown names.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.Variable([[3.0], [4.0]], name="kernel")
    >>> optimizer = kn.optimizers.LAMB(0.1)
    >>> optimizer.apply([keras.ops.array([[0.5], [200.0]])], [w])
    >>> print(keras.ops.convert_to_numpy(w).round(3))
    [[2.646]
     [3.646]]

    Reference:

    - You et al., Large Batch Optimization for Deep Learning: Training BERT in
      76 minutes, ICLR 2020, https://arxiv.org/abs/1904.00962

    Note:
        `keras.optimizers.Lamb` takes the ratio of the direction without the
        weight decay, which it applies beside it; here it is as published. The
        paper adapts all variables; its program leaves biases and the factors
        of normalizations out of decay and adaptation, as the defaults do.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        decay=0.0,
        bias_correction=True,
        gradient_averaging=True,
        norm_bounds=None,
        exclude_from_adaptation=None,
        exclude_from_decay=None,
        name="lamb",
        **kwargs,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2 = fractions(beta_1=beta_1, beta_2=beta_2)
        self.epsilon, self.decay = not_negative(epsilon=epsilon, decay=decay)
        self.bias_correction = bool(bias_correction)
        self.gradient_averaging = bool(gradient_averaging)
        self.norm_bounds = _bounds(norm_bounds)
        self._configure(exclude_from_adaptation, exclude_from_decay)

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._means, self._squares = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        w, g = dense(variable), dense(gradient, variable)
        g = ops.cast(g, w.dtype)
        mean, square = self._means[index], self._squares[index]
        share = 1 - self.beta_1 if self.gradient_averaging else 1.0
        m = self.beta_1 * dense(mean) + share * g
        v = self.beta_2 * dense(square) + (1 - self.beta_2) * ops.square(g)
        self.assign(mean, ops.cast(m, mean.dtype))
        self.assign(square, ops.cast(v, square.dtype))
        if self.bias_correction:
            update = ops.cast(self.iterations + 1, w.dtype)
            m = m / (1 - ops.power(ops.cast(self.beta_1, w.dtype), update))
            v = v / (1 - ops.power(ops.cast(self.beta_2, w.dtype), update))
        u = m / (ops.sqrt(v) + self.epsilon)
        if self.decay and self.decays(index):
            u = u + self.decay * w
        step = ops.cast(learning_rate, w.dtype) * u
        if self.adapts(index):
            weights = bounded = whole_norm(w)
            if self.norm_bounds is not None:
                bounded = ops.clip(weights, *self.norm_bounds)
            step = trust_ratio(bounded, whole_norm(u), weights) * step
        dtype = keras.backend.standardize_dtype(variable.dtype)
        self.assign(variable, ops.cast(w - step, dtype))

    def get_config(self):
        bounds = self.norm_bounds
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "decay": self.decay,
            "bias_correction": self.bias_correction,
            "gradient_averaging": self.gradient_averaging,
            "norm_bounds": None if bounds is None else list(bounds),
        }


def _bounds(given):
    if given is None:
        return None
    pair = isinstance(given, (list, tuple)) and len(given) == 2
    if not pair or not (
        0 <= finite("norm_bounds", given[0]) <= finite("norm_bounds", given[1])
    ):
        raise errors.received(
            "`norm_bounds` must be None or the least and the largest norm.",
            "For example (0.0, 10.0).",
            norm_bounds=given,
        )
    return (float(given[0]), float(given[1]))
