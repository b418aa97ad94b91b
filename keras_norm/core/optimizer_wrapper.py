"""An optimizer around another, with a hand in the update of each variable.

Keras' `apply` unscales, accumulates, clips, decays and sums over replicas;
`update_step(gradient, variable, learning_rate)` is what remains for one
variable at one update. A wrapper takes part there, and leaves all the rest to
the optimizer inside.
"""

import types
from typing import Any

import keras


def innermost(optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that updates variables, within those around it."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def position(optimizer, variable) -> int:
    """Index of a variable among those `optimizer` was built with.

    Args:
        optimizer: one that updates variables.
        variable: a Keras variable, or what the backend hands to `update_step`
            in its place.
    """
    return optimizer._get_variable_index(variable)


def serialized(optimizer) -> dict:
    """The config of an optimizer, the same on all backends.

    Keras' optimizers are private subclasses on PyTorch, which no other backend
    can load.
    """
    config = keras.saving.serialize_keras_object(optimizer)
    name = type(optimizer).__name__
    if getattr(keras.optimizers, name, None) in type(optimizer).__mro__:
        config["module"], config["registered_name"] = "keras.optimizers", None
    return config


class OptimizerWrapper(keras.optimizers.Optimizer):
    """Base of optimizers around another one.

    A subclass gives `update` and, where it has arguments, `get_config`. All
    options are those of the inner optimizer, all variables are its own:
    learning rate, clipping, accumulation, averages. Wrappers nest; the hand of
    the outer one comes first.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        name: name of the optimizer.
    """

    def __init__(self, inner_optimizer, name=None):
        inner = keras.optimizers.get(inner_optimizer)
        # A function, so that no variable is made for it.
        super().__init__(learning_rate=lambda: inner.learning_rate, name=name)
        self.inner_optimizer = inner
        self._iterations = inner._iterations

    def update(
        self, step, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """Update one variable.

        Args:
            step: `update_step` of what is inside; takes the next three.
            gradient: as it is used: unscaled, accumulated, clipped, summed.
            variable: what is updated. On TensorFlow not the Keras variable;
                `position` finds which it is.
            learning_rate: of this update.
        """
        step(gradient, variable, learning_rate)

    def takes_part(self, index: int) -> bool:
        """Has `update` a hand in the variable of this index?"""
        return True

    # The hand in the inner optimizer ------------------------------------------

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        super().build(variables)
        target = innermost(self.inner_optimizer)
        self._join(target)
        if target.use_ema:
            # What keras.callbacks.SwapEMAWeights asks for.
            self.use_ema = True
            self._model_variables_moving_average = (
                target._model_variables_moving_average
            )

    def _join(self, target):
        """Put `update` in place of the `update_step` of `target`."""
        step, together = target.update_step, target._backend_update_step

        def update_step(gradient, variable, learning_rate):
            if self.takes_part(position(target, variable)):
                self.update(step, gradient, variable, learning_rate)
            else:
                step(gradient, variable, learning_rate)

        target.update_step = update_step
        if not hasattr(target, "_parallel_update_step"):
            return

        # Keras' optimizers on PyTorch update all variables in a few fused
        # operations and never call `update_step`.
        singly = types.MethodType(_one_by_one(type(target)), target)
        base = keras.optimizers.Optimizer._backend_update_step

        def update_steps(gradients, variables, learning_rate):
            if singly.__func__ is not base:
                # Nadam moves a state of its own there, once for all.
                singly(gradients, variables, learning_rate)
                return
            pairs = list(zip(gradients, variables, strict=True))
            taken = [self.takes_part(position(target, v)) for v in variables]
            rest = [p for p, t in zip(pairs, taken, strict=True) if not t]
            own = [p for p, t in zip(pairs, taken, strict=True) if t]
            for part, run in ((rest, together), (own, singly)):
                if part:
                    found = map(list, zip(*part, strict=True))
                    run(*found, learning_rate)

        target._backend_update_step = update_steps

    # What the inner optimizer answers -----------------------------------------

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        self.inner_optimizer.apply(grads, trainable_variables)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        return self.inner_optimizer.stateless_apply(
            optimizer_variables, grads, trainable_variables
        )

    @property
    def variables(self):
        """The variables of the inner optimizer."""
        return self.inner_optimizer.variables

    @property
    def iterations(self):
        """Updates so far."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        """The learning rate of the inner optimizer."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def loss_scale_factor(self):
        """What the inner optimizer divides gradients by."""
        inner = vars(self).get("inner_optimizer")
        return None if inner is None else inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor):
        # Keras' constructor sets it before there is an inner optimizer.
        if "inner_optimizer" in vars(self):
            self.inner_optimizer.loss_scale_factor = factor

    def scale_loss(self, loss):
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def set_weights(self, weights):
        self.inner_optimizer.set_weights(weights)

    # Keras saves the inner optimizer besides this one: once is enough.
    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass

    def get_config(self):
        return {
            "name": self.name,
            "inner_optimizer": serialized(self.inner_optimizer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        inner = keras.saving.deserialize_keras_object(
            config.pop("inner_optimizer"), custom_objects=custom_objects
        )
        return cls(inner, **config)


def _one_by_one(cls):
    """The `_backend_update_step` beneath the fused one of a class."""
    name = "_backend_update_step"
    found = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
    return found[1]
