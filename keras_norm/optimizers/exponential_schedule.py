"""The exponential schedule that stands for weight decay.

Li and Arora, An Exponential Learning Rate Schedule for Deep Learning, ICLR
2020.
"""

import math

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.trust_ratios import fractions
from keras_norm.core.trust_ratios import not_negative


@keras.saving.register_keras_serializable("keras_norm")
class ExponentialSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule that `equivalent_exponential_schedule` gives.

    Attributes:
        shrinkage: alpha, factor of the weights at each step that weight decay
            is.
        momentum: of the equivalent `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate, weight_decay, momentum=0.0, l2=False):
        super().__init__()
        (old,) = fractions(momentum=momentum)
        rate, decay = not_negative(
            learning_rate=learning_rate, weight_decay=weight_decay
        )
        self.learning_rate, self.weight_decay = rate, decay
        self._momentum, self.l2 = old, bool(l2)
        self.shrinkage = _shrinkage(rate * decay, old, self.l2)
        if self.l2:
            self.momentum = old / self.shrinkage**2
        else:
            self.momentum = old / self.shrinkage

    def __call__(self, step):
        t = ops.cast(step, "float32")
        power = -math.log(self.shrinkage)
        return self.learning_rate * ops.exp((2 * t + 1) * power)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "momentum": self._momentum,
            "l2": self.l2,
        }


def _shrinkage(product, momentum, l2):
    """alpha; `product` is learning rate times weight decay."""
    largest = (1 - math.sqrt(momentum)) ** 2 if l2 else 1 - momentum
    if not product < largest:
        raise errors.received(
            "`weight_decay` times `learning_rate` must be less than "
            f"{largest:g} with this momentum: otherwise no exponential "
            "schedule is equivalent.",
            product=product,
            momentum=momentum,
            l2=l2,
        )
    if not l2:
        return 1 - product
    total = 1 + momentum - product
    return (total + math.sqrt(total**2 - 4 * momentum)) / 2


def equivalent_exponential_schedule(
    learning_rate, weight_decay, momentum=0.0, l2=False
):
    """Rates learning_rate alpha^(-2 t - 1), t = 0, 1, …: no weight decay.

    Of a network whose loss L does not change when all trained weights are
    multiplied by one number (all of them before a normalization),

        keras.optimizers.SGD(learning_rate, momentum, weight_decay=...)

    and, with `schedule = equivalent_exponential_schedule(...)`,

        keras.optimizers.SGD(schedule, schedule.momentum)

    go through the same functions: the weights of the second are those of the
    first divided by alpha^t. alpha = 1 - learning_rate weight_decay, and the
    momentum of the second is momentum / alpha.

    With `l2` the first has no `weight_decay`, but a penalty weight_decay / 2
    |w|^2 in its loss, as published, which goes through the momentum. Then
    alpha is the larger root of

        alpha^2 - (1 + momentum - learning_rate weight_decay) alpha + momentum

    and the momentum of the second is momentum / alpha^2. They go through the
    same functions if the first momentum of the second, `momentums` of SGD, is
    (1 - alpha) w instead of 0; from 0 nearly so. (Without momentum both forms
    are the same.)

    Args:
        learning_rate: of the optimizer with weight decay, constant.
        weight_decay: of that optimizer.
        momentum: of that optimizer.
        l2: is the weight decay a penalty? False: `weight_decay` of Keras'
            optimizers.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`; its `momentum` is
        the one to use, its `shrinkage` is alpha.

    Raises:
        ValueError: values out of range; too much weight decay for an
            equivalent schedule.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> schedule = kn.optimizers.equivalent_exponential_schedule(0.5, 0.2, 0.45)
    >>> print(round(schedule.shrinkage, 4), round(schedule.momentum, 4))
    0.9 0.5
    >>> print(round(float(schedule(0)), 4), round(float(schedule(1)), 4))
    0.5556 0.6859
    >>> optimizer = keras.optimizers.SGD(schedule, schedule.momentum)

    Reference:

    - Li and Arora, An Exponential Learning Rate Schedule for Deep Learning,
      ICLR 2020, https://arxiv.org/abs/1910.07454

    Note:
        The paper's momentum is without the learning rate, which Keras' SGD
        multiplies by before; with a rate that changes this makes a
        difference, and it is why the momentum changes here. Rates and weights
        grow without bound: float32 ends after about 44 / (1 - alpha) steps.
    """
    return ExponentialSchedule(learning_rate, weight_decay, momentum, l2)
