"""The simple moving average of MABN: the last batches, forward and backward."""

import keras
from keras import ops

from keras_norm.core import backward_state
from keras_norm.core.distribution import replica_count
from keras_norm.core.moments import TINY
from keras_norm.core.primitives import cached
from keras_norm.core.state import read
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import Weight

PRODUCTS = "products"


@cached
def _averaged(epsilon, replicas):
    @ops.custom_gradient
    def averaged(own, used, entries, flags, slot, products, witness):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            square = used + epsilon
            # With z = x / sqrt(square) and g what arrives at z, the sum of g z
            # is -2 square upstream. Replicas have a share of it each.
            own_product = -2.0 * square * upstream / ops.maximum(entries, TINY)
            old = backward_state.held(products, witness)
            # A buffer that has been lost, or that the steps so far have not
            # written to, begins with this batch in every row: none is averaged
            # as 0.
            empty = ops.logical_and(flags[2] > 0, ops.all(ops.equal(old, 0.0)))
            written = ops.logical_or(slot > 0, empty)
            new = ops.where(written, replicas * own_product, old)
            recent = ops.mean(new, axis=0, keepdims=True) / replicas
            product = ops.where(flags[0] > 0, recent, own_product)
            return (
                # dx = -x mean(g z) / square, by own = mean(x^2).
                -0.5 * product * entries / square,
                ops.zeros_like(used),
                ops.zeros_like(entries),
                ops.zeros_like(flags),
                ops.zeros_like(slot),
                ops.where(flags[1] > 0, new, old),
                backward_state.witnessed(witness),
            )

        # New: JAX would otherwise return its argument.
        return used * 1.0, grad

    return averaged


@keras.saving.register_keras_serializable("keras_norm")
class RecentBatches(MovingAverage):
    """The average of the last batches, and of what they sent back.

    E[x^2] and, with z the normalized input and g what arrives at it, E[g z]
    of the last `buffer_size` batches take the place of this batch's, once
    there are more batches than that and `warmup_steps` have begun. The result
    is multiplied by r, the ratio of the deviation to that of the moving
    average, which inference uses.

    Args:
        buffer_size: batches that are averaged.
        momentum: fraction kept of the moving average.
        warmup_steps: the first step that may use the buffer.
        renorm_start: r is 1 up to here, and up to the end of the warm-up.
        renorm_clip: then r lies within [1 / renorm_clip, renorm_clip].
    """

    def __init__(
        self,
        buffer_size=16,
        momentum=0.98,
        warmup_steps=100,
        renorm_start=1000,
        renorm_clip=5.0,
    ):
        super().__init__(momentum)
        self.buffer_size, self.warmup_steps = buffer_size, warmup_steps
        self.renorm_start, self.renorm_clip = renorm_start, renorm_clip

    def weights(self, operation, shapes) -> list:
        """The moving average, the buffer, the steps taken."""
        _, shape = shapes()
        buffer = Weight("second_moments", (self.buffer_size, *shape), "zeros")
        step = Weight("step", (), "zeros", "int32")
        return [*super().weights(operation, shapes), buffer, step]

    def select(self, layer, shift, spread, averages) -> Selected:
        """The average of the buffer with this batch in it."""
        dtype, size = averages.dtype, self.buffer_size
        time = read(layer.step, "int32") + 1
        rows = ops.arange(size, dtype="int32")
        slot = ops.expand_dims(ops.equal(rows, ops.mod(time, size)), -1)
        enough = ops.logical_and(time > size, time >= self.warmup_steps)
        own = ops.stop_gradient(spread)
        old = read(layer.second_moments, dtype)
        buffer = ops.where(slot, own, old)
        used = ops.where(enough, ops.mean(buffer, axis=0, keepdims=True), own)
        _, moving = self.before(layer, dtype)
        ratio = ops.sqrt((used + layer.epsilon) / (moving + layer.epsilon))
        ratio = ops.clip(ratio, 1.0 / self.renorm_clip, self.renorm_clip)
        early = time <= max(self.renorm_start, self.warmup_steps)
        ratio = ops.where(early, ops.ones_like(ratio), ratio)
        some = ops.any(averages.weight > 0, axis=0, keepdims=True)
        # Flags as numbers: an argument of a custom gradient has a gradient.
        flags = ops.stack(
            [
                ops.cast(ops.broadcast_to(f, ops.shape(own)), dtype)
                for f in (enough, some, time > 1)
            ]
        )
        replicas = replica_count() if averages.area.synchronized else 1
        entries = averages.entries * ops.ones_like(own)
        spread = _averaged(float(layer.epsilon), replicas)(
            spread,
            used,
            entries,
            flags,
            ops.cast(slot, dtype),
            *backward_state.tensors(layer, (PRODUCTS,), dtype),
        )
        self.follow(layer, None, used, averages)
        buffer = ops.where(some, buffer, old)
        layer.second_moments.assign(
            ops.cast(buffer, layer.second_moments.dtype)
        )
        layer.step.assign(layer.step + ops.cast(ops.any(some), "int32"))
        return Selected(None, spread, (ratio, ops.zeros_like(ratio)))
