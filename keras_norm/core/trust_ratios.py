"""What optimizers with a rate for each variable share."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import finite
from keras_norm.core.unit_norms import norm
from keras_norm.core.unit_norms import ratio
from keras_norm.core.variable_choice import VariableChoice
from keras_norm.core.variable_choice import is_vector
from keras_norm.core.variable_choice import read


class Exclusion:
    """Which of an optimizer's variables a rule leaves out.

    Args:
        where: as of `VariableChoice`, but None: vectors, biases and the
            factors of normalizations; an empty list: none.
    """

    def __init__(self, where=None):
        nothing = isinstance(where, (list, tuple)) and not len(where)
        self._choice = None if nothing else VariableChoice(where)
        # Of the variables left out, once the optimizer is built.
        self.indices: set[int] = set()

    def build(self, variables) -> None:
        """Find the variables."""
        if self._choice is None:
            self.indices = set()
        elif self._choice.where is None:
            vectors = [is_vector(read(v)) for v in variables]
            self.indices = {i for i, yes in enumerate(vectors) if yes}
        else:
            self.indices = set(self._choice.find(variables, "named"))

    def config(self):
        """`where` as plain data."""
        return [] if self._choice is None else self._choice.config()


class LayerwiseRates(keras.optimizers.Optimizer):
    """Base of `LARS` and `LAMB`: variables left out, and trust ratios."""

    def _configure(self, exclude_from_adaptation, exclude_from_decay):
        self._unadapted = Exclusion(exclude_from_adaptation)
        self._undecayed = Exclusion(exclude_from_decay)

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        self._unadapted.build(variables)
        self._undecayed.build(variables)
        super().build(variables)

    def adapts(self, index) -> bool:
        """Has the variable of this index a rate of its own?"""
        return index not in self._unadapted.indices

    def decays(self, index) -> bool:
        """Does the variable of this index decay?"""
        return index not in self._undecayed.indices

    def get_config(self):
        return {
            **super().get_config(),
            "exclude_from_adaptation": self._unadapted.config(),
            "exclude_from_decay": self._undecayed.config(),
        }


def trust_ratio(above, below, *others):
    """`above` / `below`, 1 where one of all is 0."""
    fine = ops.logical_and(above > 0, below > 0)
    for other in others:
        fine = ops.logical_and(fine, other > 0)
    return ops.where(fine, ratio(above, below), ops.ones_like(below))


def whole_norm(t):
    """Norm of all entries, a scalar."""
    return ops.reshape(norm(t), ())


def not_negative(**values) -> list[float]:
    """Finite numbers of at least 0, as floats."""
    for name, value in values.items():
        if not finite(name, value) >= 0:
            raise errors.received(
                f"`{name}` must not be negative.", **{name: value}
            )
    return [float(value) for value in values.values()]


def fractions(**values) -> list[float]:
    """Numbers of at least 0 and below 1, as floats."""
    for name, value in values.items():
        if not 0 <= finite(name, value) < 1:
            raise errors.received(
                f"`{name}` must be at least 0 and less than 1.",
                **{name: value},
            )
    return [float(value) for value in values.values()]
