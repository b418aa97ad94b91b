"""Matrix operations: whitening over groups of channels.

The mean comes from the moment table like every other; what is measured besides
is one covariance per group of channels, and what is applied is one matrix.
"""

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import operations
from keras_norm.core import primitives
from keras_norm.core.distribution import replica_sum
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import move


def identity(d, dtype):
    """The (d, d) identity, made of what exporters and compilers take.

    ops.eye inside a batch does not export to ONNX, NumPy constants break the
    graphs of PyTorch's compiler.
    """
    index = ops.arange(d, dtype="int32")
    return ops.cast(ops.equal(index[:, None], index), dtype)


def newton_inverse_square_root(s, iterations):
    """S^(-1/2) of positive definite S (..., d, d) by coupled Newton steps.

    Y0 = S / tr S, Z0 = I; M = (3 I - Z Y) / 2; Y <- Y M; Z <- M Z. In exact
    arithmetic these are IterNorm's iterates P <- (3 P - P^3 S) / 2; in float32
    those diverge from about 10 steps on and these converge.
    """
    d = s.shape[-1]
    eye = identity(d, s.dtype)
    trace = ops.sum(s * eye, axis=(-2, -1), keepdims=True)
    trace = ops.maximum(trace, moments.TINY)
    y, z = s / trace, eye
    for step in range(iterations):
        m = 1.5 * eye - 0.5 * (ops.matmul(z, y) if step else y)
        y, z = ops.matmul(y, m), (ops.matmul(m, z) if step else m)
    return z * ops.rsqrt(trace)


@keras.saving.register_keras_serializable("keras_norm")
class StackedIdentity(keras.initializers.Initializer):
    """Identity matrices of shape (groups, d, d)."""

    def __call__(self, shape, dtype=None):
        """The matrices."""
        eyes = np.broadcast_to(np.eye(shape[-1]), shape)
        return ops.convert_to_tensor(eyes.copy(), dtype=dtype or "float32")


@keras.saving.register_keras_serializable("keras_norm")
class Newton(operations.Operation):
    """y = W (x - mean), W ~ (covariance + epsilon I)^(-1/2) by Newton steps.

    Whitens consecutive groups of channels over the whole batch. Where
    `group_size` does not divide the channels the last group is smaller.

    Args:
        group_size: channels whitened together.
        iterations: Newton steps; 5 whitens in part (the authors' choice),
            about 20 completely.
    """

    family = "matrix"
    names = ("mean", "matrix")
    initial = ("zeros", StackedIdentity())

    def __init__(self, group_size=64, iterations=5):
        for name, value, least in (
            ("group_size", group_size, 1),
            ("iterations", iterations, 0),
        ):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or value < least:
                raise errors.received(
                    f"`{name}` must be an integer of at least {least}.",
                    **{name: value},
                )
        self.group_size, self.iterations = group_size, iterations

    def layout(self, channels):
        """(groups, channels of a group) for that many channels."""
        d = min(self.group_size, channels)
        return -(-channels // d), d

    def state_shapes(self, area, channels):
        """The mean per channel, a matrix per group."""
        if area.rows != "all" or area.columns != "each":
            raise errors.received(
                "`area` of a whitening operation must be 'batch'.", area=area
            )
        groups, d = self.layout(channels)
        return (channels,), (groups, d, d)

    def inverse_root(self, covariance):
        """The whitening matrix of a covariance."""
        return newton_inverse_square_root(covariance, self.iterations)

    def normalize(self, layer, x, training, mask, condition):
        """Center, whiten, recover: two matrix products over the data."""
        rank = len(x.shape)
        axis = layer.axis % rank
        if layer.measures(training):
            centred, matrix = self._batch(layer, x, axis, mask)
        else:
            if mask is not None:
                x = moments.without_padding(x, moments.aligned(mask, x))
            view = moments.viewer(rank, axis)
            centred = x - view(compact(layer.moving_mean, x.dtype))
            centred = ops.moveaxis(centred, axis, -1)
            matrix = ops.cast(layer.moving_matrix, x.dtype)
        y = self._apply(layer, centred, matrix, condition)
        return ops.moveaxis(y, -1, axis)

    def _batch(self, layer, x, axis, mask):
        """Centred data (channels last) and whitening matrices of the batch."""
        table = moments.measure(x, axis, mask)
        averages = layer.area.over(table)
        mean, _ = operations.Center().measure(table, averages, 0.0)
        shift = averages.spread(mean) - averages.relative_pivot
        centred = ops.moveaxis(table.data - table.view(shift), axis, -1)
        weights = table.mask
        if weights is not None:
            if weights.shape[axis] != 1:
                raise errors.received(
                    "`mask` must not differ between the channels that are "
                    "whitened together.",
                    mask_shape=tuple(weights.shape),
                )
            weights = ops.moveaxis(weights, axis, -1)
        covariance = self._covariance(
            centred, weights, averages, layer.epsilon, x.shape[axis]
        )
        matrix = self.inverse_root(covariance)
        # The identity in what fills up the last group.
        real, d = self._real(x.shape[axis], x.dtype), matrix.shape[-1]
        matrix = matrix * real + (1.0 - real) * identity(d, x.dtype)
        seen = averages.seen
        momentum = layer.statistics.momentum
        move(layer.moving_mean, averages.base + mean, seen, momentum)
        rows = ops.reshape(matrix, (-1, matrix.shape[-1]))
        seen = seen if seen is True else seen[:, :1]
        move(layer.moving_matrix, rows, seen, momentum)
        return centred, matrix

    def _real(self, channels, dtype):
        """(groups, d, d): 0 in what fills up the last group, else 1."""
        groups, d = self.layout(channels)
        real = ops.arange(groups * d, dtype="int32") < channels
        real = ops.cast(real, dtype)
        real = ops.reshape(real, (groups, d))
        return ops.expand_dims(real, -1) * ops.expand_dims(real, -2)

    def _rows(self, centred):
        """(..., C) -> (M, groups, d), filled up with zeros."""
        channels = centred.shape[-1]
        groups, d = self.layout(channels)
        rows = ops.reshape(centred, (-1, channels))
        if groups * d != channels:
            rows = ops.pad(rows, ((0, 0), (0, groups * d - channels)))
        return ops.reshape(rows, (-1, groups, d))

    def _covariance(self, centred, weights, averages, epsilon, channels):
        rows = self._rows(centred)
        left = rows
        if weights is not None:
            left = ops.where(weights > 0, centred * weights, 0.0)
            centred = ops.where(weights > 0, centred, 0.0)
            left, rows = self._rows(left), self._rows(centred)
        if rows.shape[1] == 1:
            total = ops.matmul(ops.transpose(left[:, 0]), rows[:, 0])[None]
        else:
            total = ops.einsum("mgi,mgj->gij", left, rows)
        if averages.area.synchronized:
            total = replica_sum(total)
        entries = ops.maximum(averages.entries[0, 0], moments.TINY)
        real, d = self._real(channels, rows.dtype), rows.shape[-1]
        return total / entries + epsilon * real * identity(d, rows.dtype)

    def _apply(self, layer, centred, matrix, condition):
        """W (x - mean), with what folds folded into W."""
        channels = centred.shape[-1]
        one = ops.ones((1, channels), centred.dtype)
        scale, offset = layer.recovery.fold(layer, one, 0.0 * one, condition)
        per_sample = scale.shape[0] != 1
        groups, d = self.layout(channels)
        # y = x W^T: the output index is last.
        matrix = ops.swapaxes(matrix, -1, -2)
        if not per_sample:
            filled = ops.pad(scale, ((0, 0), (0, groups * d - channels)))
            matrix = matrix * ops.reshape(filled, (groups, 1, d))
        rows = self._rows(centred)
        if groups == 1:
            y = ops.matmul(rows[:, 0], matrix[0])
        else:
            y = ops.reshape(
                ops.einsum("mgi,gij->mgj", rows, matrix), (-1, groups * d)
            )[:, :channels]
        y = ops.reshape(y, ops.shape(centred))
        view = moments.viewer(len(centred.shape), -1)
        if per_sample:
            return primitives.affine(
                y, *(view(t) for t in (scale, offset + 0.0 * scale))
            )
        return y + view(offset)
