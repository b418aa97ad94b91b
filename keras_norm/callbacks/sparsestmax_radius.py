"""The schedule of sparse switchable normalization.

Shao et al., 2019, https://arxiv.org/abs/1903.03793
"""

import numbers

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.core.schedules import StepCallback
from keras_norm.layers.mixture.sparse_switchable_normalization import (
    SparseSwitchableNormalization,
)


class SparsestmaxRadius(StepCallback):
    """Sparser and sparser mixtures: the radius grows linearly with the steps.

    radius = start + (end - start) * min(step / total_steps, 1)

    It sets the weight `radius` of every `SparseSwitchableNormalization` in the
    model before each step. Steps are those of the optimizer, so that training
    that is resumed with its optimizer goes on where it was.

    Args:
        total_steps: step at which the radius is `end`, where it stays.
        start: radius at first; 0 is sparsemax.
        end: radius at the end; with K normalizers from sqrt((K - 1) / K) on
            (0.82 of three) one of them is chosen.

    Raises:
        ValueError: `total_steps` that is no positive integer, a negative
            radius. When training begins: a model without such a layer.

    Example:

    >>> import keras_norm as kn
    >>> schedule = kn.callbacks.SparsestmaxRadius(total_steps=100, end=0.8)
    >>> print([schedule.radius(step) for step in (0, 50, 1000)])
    [0.0, 0.4, 0.8]

    Reference:

    - Shao et al., SSN: Learning Sparse Switchable Normalization via
      SparsestMax, CVPR 2019, https://arxiv.org/abs/1903.03793
    """

    statistics = SparseSwitchableNormalization
    named = "SparseSwitchableNormalization"

    def __init__(self, total_steps, start=0.0, end=1.0):
        super().__init__()
        positive("total_steps", total_steps)
        for name, value in (("start", start), ("end", end)):
            number = isinstance(value, numbers.Real)
            if not number or isinstance(value, bool) or not value >= 0:
                raise errors.received(
                    f"`{name}` must be a radius of at least 0.", **{name: value}
                )
        self.total_steps = total_steps
        self.start, self.end = float(start), float(end)

    def radius(self, step) -> float:
        """The radius of a step, counted from 0."""
        share = min(step / self.total_steps, 1.0)
        return self.start + (self.end - self.start) * share

    def set_weights(self, step) -> None:
        """Set the radius of this step."""
        radius = self.radius(step)
        for layer in self.layers:
            self.set_weight(layer, "radius", radius)
