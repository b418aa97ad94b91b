"""The state of ghost batches: one average after the other, in closed form."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_gather
from keras_norm.core.distribution import replica_sum
from keras_norm.core.moments import TINY
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import put


@keras.saving.register_keras_serializable("keras_norm")
class GhostAverage(MovingAverage):
    """Each part of the batch normalizes itself and moves the state.

    Sequential: m^L state + (1 - m) sum_l m^(L - 1 - l) part_l, what L moving
    averages, one for each part, come to. A part that saw nothing is no part.

    Args:
        momentum: m, the fraction kept.
        update: "sequential", or "mean": one moving average of the parts' mean,
            weighted by their entries.
        synchronized: the parts of all replicas, in the order of the replicas.
            Statistics that normalize stay those of the parts.
    """

    def __init__(self, momentum=0.9, update="sequential", synchronized=False):
        super().__init__(momentum)
        if update not in ("sequential", "mean"):
            raise errors.unknown_name("update", update, ["sequential", "mean"])
        self.update, self.synchronized = update, synchronized

    def follow(self, layer, shift, spread, averages, momentum=None) -> None:
        """Move the state by all parts."""
        names = [n for n in layer.operation.names if n]
        values = [t for t in (shift, spread) if t is not None]
        if shift is not None:
            values[0] = averages.base + shift
        variables = [getattr(layer, f"moving_{n}") for n in names]
        old = ops.stack([compact(v, averages.dtype) for v in variables])
        # (statistic, part, group), relative to the state: what is summed is of
        # the size of the change.
        change = ops.stop_gradient(ops.stack(values)) - old
        weight = ops.zeros_like(change[0]) + averages.weight
        together = {
            "sequential": self._one_by_one,
            "mean": self._at_once,
        }[self.update]
        new = old + ops.expand_dims(together(change, weight), 1)
        for i, variable in enumerate(variables):
            put(variable, new[i])

    def _one_by_one(self, change, weight):
        """(statistic, group): sum_l (1 - m) m^(parts after l) change_l."""
        seen = ops.cast(weight > 0, change.dtype)
        number = ops.sum(seen, axis=0)
        after = number - ops.cumsum(seen, axis=0)
        keep = ops.convert_to_tensor(self.momentum, dtype=change.dtype)
        share = (1.0 - self.momentum) * seen * ops.power(keep, after)
        total = ops.sum(share * change, axis=1)
        if not self.synchronized or replica_count() == 1:
            return total
        sent = ops.concatenate([total, number[None]], axis=0)
        each = replica_gather(ops.expand_dims(sent, -1))
        total = ops.zeros_like(total)
        for replica in range(replica_count()):
            *own, number = ops.unstack(each[..., replica])
            total = total * ops.power(keep, number) + ops.stack(own)
        return total

    def _at_once(self, change, weight):
        """(statistic, group): (1 - m) times the weighted mean change."""
        total = ops.sum(weight * change, axis=1)
        weight = ops.sum(weight, axis=0)
        if self.synchronized:
            sent = ops.concatenate([total, weight[None]], axis=0)
            *total, weight = ops.unstack(replica_sum(sent))
            total = ops.stack(total)
        return (1.0 - self.momentum) * total / ops.maximum(weight, TINY)
