"""Soft thresholds after each step: exact zeros (ISTA).

Ye, Lu, Lin and Wang, Rethinking the Smaller-Norm-Less-Informative Assumption
in Channel Pruning of Convolution Layers, ICLR 2018.
"""

import math

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.optimizer_wrapper import OptimizerWrapper
from keras_norm.core.variable_choice import VariableChoice


@keras.saving.register_keras_serializable("keras_norm")
class ProximalL1(OptimizerWrapper):
    """w <- sign(v) max(|v| - rate * strength, 0), v what the inner step makes.

    The step of a proximal method (iterative shrinkage and thresholding) for
    the penalty strength * sum |w|: entries reach 0 exactly, and stay there
    unless the loss pulls harder than the penalty. `tools.prune` with
    `threshold=0` then removes the channels of these gammas.

    Args:
        inner_optimizer: a Keras optimizer, or its name. All options are its:
            learning rate, clipping, accumulation, averages.
        strength: of the penalty, at least 0.
        where: which variables: a name or a list of names, each any
            consecutive part of a variable's path ("gamma", "norm_1/gamma"), or
            a function of a variable. Layers stand for their kernels.
        name: name of the optimizer.

    Raises:
        ValueError: a negative strength; when it is built, no variable that
            `where` chooses.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> gamma = keras.Variable([1.0, 0.05, -0.5], name="gamma")
    >>> optimizer = kn.optimizers.ProximalL1(
    ...     keras.optimizers.SGD(0.1), strength=1.0)
    >>> optimizer.build([gamma])
    >>> optimizer.apply([keras.ops.zeros((3,))])
    >>> print(keras.ops.convert_to_numpy(gamma).round(4))
    [ 0.9  0.  -0.4]

    Reference:

    - Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption in
      Channel Pruning of Convolution Layers, ICLR 2018,
      https://arxiv.org/abs/1802.00124

    Note:
        This is ISTA with `SGD` without momentum inside, as Ye et al. update
        gamma; other optimizers take their own step, and the threshold stays
        that of the learning rate. They weigh each layer by what its channels
        cost in memory: for that, nest one wrapper for each strength, with
        `where` a registered function.
    """

    def __init__(
        self, inner_optimizer, strength=1e-4, where="gamma", name=None
    ):
        super().__init__(inner_optimizer, name)
        number = isinstance(strength, (int, float)) and strength is not True
        if not number or not (math.isfinite(strength) and strength >= 0):
            raise errors.received(
                "`strength` must be a finite number of at least 0.",
                strength=strength,
            )
        self.strength = float(strength)
        self._choice = VariableChoice(where)
        self._chosen: set = set()

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        self._chosen = set(self._choice.find(variables, vectors="named"))
        super().build(variables)

    def takes_part(self, index):
        return index in self._chosen

    def update(self, step, gradient, variable, learning_rate):
        step(gradient, variable, learning_rate)
        v = ops.convert_to_tensor(variable)
        threshold = ops.cast(learning_rate, v.dtype) * self.strength
        size = ops.maximum(ops.abs(v) - threshold, 0)
        self.assign(variable, ops.sign(v) * size)

    def get_config(self):
        own = {"strength": self.strength, "where": self._choice.config()}
        return {**super().get_config(), **own}
