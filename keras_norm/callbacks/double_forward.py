"""Double forward propagation of memorized batch normalization.

Guo, Wu, Deng, Chen & Tan, 2018, https://arxiv.org/abs/2010.04947
"""

import keras

from keras_norm.core.memory import Memory
from keras_norm.core.memory import replacing
from keras_norm.core.schedules import LayerCallback
from keras_norm.core.schedules import find


class DoubleForward(LayerCallback):
    """Each batch goes through the network again after the optimizer's step.

    Of what the second pass would move, only the newest entries of the memories
    of `MemorizedBatchNormalization` are kept: they then hold what the batch
    looks like to the weights after the step. Other state, random numbers and
    metrics go on as if there was one pass. It costs a forward pass.

    It stands in for the model's `train_step` as long as `fit` runs, so that
    the second pass is compiled with the step, on every backend.

    Raises:
        ValueError: when training begins, a model without such a layer.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [kn.layers.MemorizedBatchNormalization(), keras.layers.Dense(1)]
    ... )
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(
    ...     np.random.rand(8, 3),
    ...     np.random.rand(8, 1),
    ...     callbacks=[kn.callbacks.DoubleForward()],
    ...     verbose=0,
    ... )

    Reference:

    - Guo et al., Double Forward Propagation for Memorized Batch Normalization,
      AAAI 2018, https://arxiv.org/abs/2010.04947

    Note: where `fit` ends by an exception the step stays in place until the
    next `fit` with this callback ends, or `detach()`.
    """

    statistics = Memory
    named = "MemorizedBatchNormalization"
    _fitting = False

    def set_model(self, model) -> None:
        """Take the place of the step, before `fit` compiles it."""
        super().set_model(model)
        self.detach()
        self._attached = model
        plain = model.train_step

        def train_step(*arguments):
            return step_twice(model, plain, *arguments)

        model.train_step = train_step
        model.train_function = None

    def on_train_begin(self, logs=None) -> None:
        """Find the layers."""
        self._fitting = True
        try:
            super().on_train_begin(logs)
        except ValueError:
            self.on_train_end()
            raise

    def on_train_end(self, logs=None) -> None:
        """Give the model its own step back."""
        self._fitting = False
        self.detach()

    def on_test_end(self, logs=None) -> None:
        """The same where there was no training."""
        if not self._fitting:
            self.detach()

    on_predict_end = on_test_end

    def detach(self) -> None:
        """Give the model its own step back, if it has not got it."""
        model = getattr(self, "_attached", None)
        if model is not None and "train_step" in vars(model):
            del model.train_step
            model.train_function = None
        self._attached = None


def step_twice(model, step, *arguments):
    """A training step, then a forward pass for the memories.

    Args:
        model: the model.
        step: its training step.
        *arguments: of the step: data, under JAX state and data.
    """
    *state, data = arguments
    x, _, _ = keras.utils.unpack_x_y_sample_weight(data)

    def again(trainable, others):
        """The state with the entries of a second pass."""
        layers = find(model, Memory)
        own = {
            id(weight)
            for layer in layers
            for weight in (layer.memory_mean, layer.memory_variance)
        }
        with replacing([layer.statistics for layer in layers]):
            _, moved = model.stateless_call(trainable, others, x, training=True)
        return [
            new if id(variable) in own else old
            for variable, old, new in zip(
                model.non_trainable_variables, others, moved, strict=True
            )
        ]

    if state:
        # JAX: state in, state out.
        logs, (trainable, others, *rest) = step(*state, data)
        return logs, (trainable, again(trainable, others), *rest)
    # A model without a known input is built by it.
    logs = step(data)
    variables = model.non_trainable_variables
    others = [v.value for v in variables]
    moved = again([v.value for v in model.trainable_variables], others)
    for variable, old, new in zip(variables, others, moved, strict=True):
        if new is not old:
            variable.assign(new)
    return logs
