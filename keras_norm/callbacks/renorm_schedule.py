"""The schedule of batch renormalization.

Ioffe, 2017, https://arxiv.org/abs/1702.03275
"""

import math
import numbers

from keras_norm import errors
from keras_norm.core.renorm import BatchRenorm
from keras_norm.core.schedules import StepCallback


def is_number(value) -> bool:
    """An int or float, of NumPy too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


class RenormSchedule(StepCallback):
    """Batch normalization at first, then more and more of the correction.

    Up to step `start` rmax = 1 and dmax = 0. Then both grow linearly, to the
    bounds that the layer was made with at steps `rmax_end` and `dmax_end`, and
    stay there. The defaults are the paper's.

    It sets the weights `rmax` and `dmax` of every `BatchRenormalization` in
    the model before each step. Steps are those of the optimizer, so that
    training that is resumed with its optimizer goes on where it was.

    Args:
        start: steps of batch normalization.
        rmax_end: step at which `rmax` is at its bound.
        dmax_end: step at which `dmax` is at its bound.

    Raises:
        ValueError: an end before the start. When training begins: a model
            without such a layer, a bound that is infinite.

    Example:

    >>> import keras_norm as kn
    >>> schedule = kn.callbacks.RenormSchedule(start=100, rmax_end=800,
    ...                                        dmax_end=500)
    >>> print(schedule.bounds(step=450, rmax=3.0, dmax=5.0))
    (2.0, 4.375)

    Reference:

    - Ioffe, Batch Renormalization: Towards Reducing Minibatch Dependence in
      Batch-Normalized Models, NeurIPS 2017, https://arxiv.org/abs/1702.03275
    """

    statistics = BatchRenorm
    named = "BatchRenormalization"

    def __init__(self, start=5000, rmax_end=40000, dmax_end=25000):
        super().__init__()
        for name, end in (("rmax_end", rmax_end), ("dmax_end", dmax_end)):
            known = is_number(start) and is_number(end)
            if not known or not 0 <= start <= end:
                raise errors.received(
                    f"`{name}` must be a step from `start` on, and `start` at "
                    "least 0.",
                    **{name: end},
                    start=start,
                )
        self.start, self.rmax_end, self.dmax_end = start, rmax_end, dmax_end

    def bounds(self, step, rmax, dmax):
        """(rmax, dmax) of this step for the bounds at the end."""

        def share(end):
            if step >= end:
                return 1.0
            return max(step - self.start, 0) / (end - self.start)

        r = 1.0 + share(self.rmax_end) * (rmax - 1.0)
        return r, share(self.dmax_end) * dmax

    def on_train_begin(self, logs=None) -> None:
        """Find the layers."""
        super().on_train_begin(logs)
        for layer in self.layers:
            ends = layer.statistics.rmax, layer.statistics.dmax
            if not all(math.isfinite(end) for end in ends):
                raise errors.received(
                    "`rmax` and `dmax` must be finite to be approached "
                    "linearly.",
                    layer=layer.name,
                    rmax=ends[0],
                    dmax=ends[1],
                )

    def set_weights(self, step) -> None:
        """Set the bounds of this step."""
        for layer in self.layers:
            ends = layer.statistics.rmax, layer.statistics.dmax
            rmax, dmax = self.bounds(step, *ends)
            self.set_weight(layer, "rmax", rmax)
            self.set_weight(layer, "dmax", dmax)
