"""Weights and state for each width of a network that has several."""

import keras
from keras import ops

from keras_norm.core.recoveries import Affine
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import moved


@keras.saving.register_keras_serializable("keras_norm")
class SwitchedAverage(MovingAverage):
    """Moving averages for each width, one row of a table for each.

    Rows are filled up to the largest width. `layer.width` is the row and the
    number of channels of the call.

    Args:
        widths: numbers of channels.
        momentum: fraction kept.
        unbiased: keep the unbiased variance.
    """

    def __init__(self, widths, momentum=0.9, unbiased=False):
        super().__init__(momentum, unbiased)
        self.widths = widths

    def weights(self, operation, shapes) -> list:
        """Tables (widths, largest width)."""
        shape = len(self.widths), max(self.widths)
        return [
            w._replace(shape=shape) for w in super().weights(operation, shapes)
        ]

    def state(self, layer, dtype):
        """The row of this width."""
        row, channels = layer.width
        return tuple(
            name
            and ops.cast(getattr(layer, f"moving_{name}"), dtype)[
                row : row + 1, :channels
            ]
            for name in layer.operation.names
        )

    def follow(self, layer, shift, spread, averages, momentum=None) -> None:
        """Move the row of this width, and nothing else."""
        row, channels = layer.width
        old = self.state(layer, averages.dtype)
        values = self.stored(layer, shift, spread, averages)
        for name, before, value in zip(
            layer.operation.names, old, values, strict=True
        ):
            if not name:
                continue
            table = getattr(layer, f"moving_{name}")
            rows, largest = table.shape
            new = moved(before, value, self.momentum, averages.seen)
            here = ops.equal(ops.arange(rows, dtype="int32"), row)
            inside = ops.less(ops.arange(largest, dtype="int32"), channels)
            own = ops.logical_and(here[:, None], inside)
            # Not ops.pad, which PyTorch's compiler refuses.
            beyond = ops.zeros((1, largest - channels), new.dtype)
            new = ops.concatenate([new, beyond], axis=-1)
            new = ops.cast(new, table.dtype)
            table.assign(ops.where(own, new, ops.cast(table, table.dtype)))


@keras.saving.register_keras_serializable("keras_norm")
class SwitchedAffine(Affine):
    """Gamma and beta for each width, or the first entries of common ones.

    Args:
        widths: numbers of channels.
        shared: one gamma and beta of the largest width.
    """

    def __init__(self, widths, shared=False):
        self.widths, self.shared = widths, shared

    def build(self, layer, channels, condition_shape=None) -> None:
        """Create gamma and beta."""
        largest = max(self.widths)
        shape = (largest,) if self.shared else (len(self.widths), largest)
        layer.add_affine(shape)

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by this width's gamma, add its beta."""
        row, channels = layer.width

        def own(weight):
            weight = ops.cast(weight, scale.dtype)
            if self.shared:
                return weight[None, :channels]
            return weight[row : row + 1, :channels]

        if layer.gamma is not None:
            gamma = own(layer.gamma)
            scale, offset = scale * gamma, offset * gamma
        if layer.beta is not None:
            offset = offset + own(layer.beta)
        return scale, offset
