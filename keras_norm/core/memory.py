"""The statistics of recent batches, together."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.core.state import read
from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import Weight
from keras_norm.core.statistics import check_momentum


@keras.saving.register_keras_serializable("keras_norm")
class Memory(Batch):
    """The moments of the last k batches, older ones with less weight.

    mean = sum_j w_j mean_j, variance = sum_j w_j (variance_j + (mean_j -
    mean)^2), w_j ~ decay^age over the entries that are filled. The gradient is
    that of the current batch's share.

    Args:
        memory_size: k, the current batch included.
        decay: weight of a batch relative to the next one, in (0, 1].
    """

    # Does a training call overwrite the newest entry? See `replacing`.
    replaces = False

    def __init__(self, memory_size=5, decay=0.9):
        positive("memory_size", memory_size)
        if not check_momentum("decay", decay):
            raise errors.received(
                "`decay` must be above 0.",
                "memory_size=1 forgets all batches but the current one.",
                decay=decay,
            )
        self.memory_size, self.decay = memory_size, float(decay)

    def weights(self, operation, shapes) -> list:
        """k rows for each statistic, newest first, and how many are filled."""
        initial = zip(operation.names, shapes(), operation.initial, strict=True)
        rows = [
            Weight(f"memory_{name}", (self.memory_size, *shape), first)
            for name, shape, first in initial
        ]
        return [*rows, Weight("count", (), "zeros", "int32")]

    def measures(self, training) -> bool:
        """Only training looks at the batch."""
        return training

    def state(self, layer, dtype):
        """(mean, variance) of the memory; 0 and 1 while it is empty."""
        base, mean, variance = self.relative_state(layer, dtype)
        return base + mean, variance

    def relative_state(self, layer, dtype):
        """(base, mean - base, variance): no sum of large numbers is rounded."""
        mean = ops.cast(layer.memory_mean, dtype)
        variance = ops.cast(layer.memory_variance, dtype)
        base = mean[:1]
        return base, *self.pooled(mean - base, variance, layer.count)

    def pooled(self, mean, variance, count):
        """The moments of the first `count` rows together, (1, groups) each."""
        age = np.arange(self.memory_size, dtype="int32")
        weight = ops.convert_to_tensor(self.decay**age, dtype=mean.dtype)
        # The first row of an empty memory is its initial value.
        filled = ops.less(age, ops.maximum(ops.cast(count, "int32"), 1))
        weight = ops.expand_dims(ops.where(filled, weight, 0.0), -1)
        weight = weight / ops.sum(weight)
        center = ops.sum(weight * mean, axis=0, keepdims=True)
        spread = variance + ops.square(mean - center)
        return center, ops.sum(weight * spread, axis=0, keepdims=True)

    def select(self, layer, shift, spread, averages) -> Selected:
        """The memory with the batch in front normalizes."""
        seen, base = averages.seen, averages.base
        dtype = averages.dtype
        old = [
            read(w, dtype) for w in (layer.memory_mean, layer.memory_variance)
        ]
        rows = slice(1, None) if self.replaces else slice(None, -1)
        old[0] = old[0] - base
        new = [
            self.remembered(value, memory, rows, seen)
            for value, memory in zip((shift, spread), old, strict=True)
        ]
        any_seen = ops.cast(ops.any(seen), "int32")
        count = read(layer.count, "int32")
        count = count + (0 if self.replaces else any_seen)
        count = ops.minimum(ops.maximum(count, any_seen), self.memory_size)
        used = self.pooled(new[0], new[1], count)
        absolute = self.remembered(
            base + shift, ops.cast(layer.memory_mean, dtype), rows, seen
        )
        for variable, value in (
            (layer.memory_mean, absolute),
            (layer.memory_variance, new[1]),
        ):
            variable.assign(ops.cast(ops.stop_gradient(value), variable.dtype))
        layer.count.assign(count)
        return Selected(*used)

    @staticmethod
    def remembered(value, memory, rows, seen):
        """The memory with `value` in front, where anything was seen."""
        new = ops.concatenate([value, ops.stop_gradient(memory[rows])])
        return new if seen is True else ops.where(seen, new, memory)


@contextlib.contextmanager
def replacing(statistics):
    """Training calls overwrite the newest entries of these memories."""
    before = [s.replaces for s in statistics]
    try:
        for s in statistics:
            s.replaces = True
        yield
    finally:
        for s, value in zip(statistics, before, strict=True):
            s.replaces = value
