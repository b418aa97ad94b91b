"""Matrix operations: whitening over groups of channels.

The mean comes from the moment table like every other; what is measured besides
is one covariance per group of channels, and what is applied is one matrix,
into which the recovery is folded. What inference needs is a weight: a moving
matrix, or a moving covariance with the matrix that belongs to it.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import moments
from keras_norm.core import operations
from keras_norm.core import primitives
from keras_norm.core.layer import positive
from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import move
from keras_norm.ops import matrix_roots

RUNNING = ("matrix", "covariance")


@keras.saving.register_keras_serializable("keras_norm")
class StackedIdentity(keras.initializers.Initializer):
    """Identity matrices of shape (..., d, d)."""

    def __call__(self, shape, dtype=None):
        """The matrices."""
        eyes = np.broadcast_to(np.eye(shape[-1]), shape)
        return ops.convert_to_tensor(eyes.copy(), dtype=dtype or "float32")


class Whiten(operations.Operation):
    """y = W (x - mean), cov(W x) = I: base of the matrix operations.

    Whitens consecutive groups of channels. Where `group_size` does not divide
    the channels the last group is smaller.

    Args:
        group_size: channels whitened together; None: all.
        running: what moving averages keep, "matrix" (W) or "covariance", in
            which case the matrix of inference is a weight of its own.
        shrink: regularize by (1 - epsilon) S + epsilon I instead of
            S + epsilon I. The state keeps S before shrinking, but after
            adding.
        unbiased: divide the covariance by m - 1 instead of m.
    """

    family = "matrix"
    initial = ("zeros", StackedIdentity())

    def __init__(
        self,
        group_size=None,
        running="covariance",
        shrink=False,
        unbiased=False,
    ):
        if group_size is not None:
            positive("group_size", group_size)
        if running not in RUNNING:
            raise errors.unknown_name("running", running, list(RUNNING))
        self.group_size, self.running = group_size, running
        self.shrink, self.unbiased = shrink, unbiased

    @property
    def names(self):
        """Names of the state."""
        return ("mean", self.running)

    def matrix(self, covariance):
        """W of regularized covariances (..., d, d)."""
        raise NotImplementedError

    def filling(self, variances):
        """Diagonal of what fills up the last group, for the decomposition.

        Args:
            variances: mean diagonal of the covariances, (..., 1, 1).
        """
        return 0.0 * variances

    def groups(self, channels):
        """How the channels are cut."""
        return channel_groups.ChannelGroups(
            channels, self.group_size or channels
        )

    # State ------------------------------------------------------------------

    def state_shapes(self, area, channels):
        """A mean per channel and a matrix per group, for every row of it."""
        rows = (area.size,) if area.rows == "gates" else ()
        return (*rows, channels), (*rows, *self.groups(channels).shape)

    def check(self, layer):
        """Refuse areas and statistics that have no covariance."""
        area = layer.area
        known = getattr(area, "rows", None) in ("all", "each", "gates")
        if not known or area.columns != "each":
            raise errors.received(
                "`area` of a whitening operation must be 'batch', 'instance' "
                "or gates over the batch.",
                "Groups of channels are the operation's `group_size`.",
                area=area,
            )
        if type(layer.statistics) not in (Batch, MovingAverage):
            raise errors.received(
                "`statistics` of a whitening operation must be 'batch' or "
                "'moving'.",
                statistics=layer.statistics,
            )

    def build(self, layer, channels):
        """Create the matrix of inference, beside a moving covariance."""
        self.check(layer)
        moving = isinstance(layer.statistics, MovingAverage)
        if moving and self.running == "covariance":
            shape = self.state_shapes(layer.area, channels)[1]
            layer.add_state("whitening_matrix", shape, StackedIdentity())

    def refresh(self, layer, seen=True):
        """Recompute the matrix of inference from the moving covariance.

        Training does so by itself; it is for those who set the covariance.

        Args:
            layer: the layer.
            seen: which rows of the matrices may change, or True for all.
        """
        covariance = ops.cast(
            layer.moving_covariance,
            "float64" if layer.compute_dtype == "float64" else "float32",
        )
        matrix = self.matrix_of(layer, covariance, stored=True)
        matrix = ops.cast(matrix, layer.whitening_matrix.dtype)
        if seen is not True:
            kept = ops.cast(layer.whitening_matrix, matrix.dtype)
            rows = ops.reshape(seen, (*matrix.shape[:-1], 1))
            matrix = ops.where(rows, matrix, kept)
        layer.whitening_matrix.assign(matrix)

    def stored(self, layer, dtype):
        """(mean, matrix) of inference, mean compact."""
        kept = self.running == "matrix"
        matrix = layer.moving_matrix if kept else layer.whitening_matrix
        return compact(layer.moving_mean, dtype), ops.cast(matrix, dtype)

    # The covariance ---------------------------------------------------------

    def regularized(self, covariance, epsilon):
        """What is decomposed, without what fills up the last group."""
        eye = matrix_roots.identity(covariance.shape[-1], covariance.dtype)
        if self.shrink:
            return (1.0 - epsilon) * covariance + epsilon * eye
        return covariance + epsilon * eye

    def matrix_of(self, layer, covariance, stored=False):
        """W of covariances (..., groups, d, d), `stored` or fresh."""
        groups = self.groups(layer.channels)
        dtype = covariance.dtype
        if self.shrink or not stored:
            covariance = self.regularized(
                covariance, layer.acting_epsilon(dtype)
            )
        if not groups.missing:
            return self.matrix(covariance)
        real, filler = fills(groups, dtype)
        covariance = covariance * real
        eye = matrix_roots.identity(groups.width, dtype)
        traces = ops.sum(covariance * eye, axis=(-2, -1), keepdims=True)
        filling = self.filling(ops.stop_gradient(traces) / groups.width)
        matrix = self.matrix(covariance + filling * filler)
        return matrix * real + filler

    # The call ---------------------------------------------------------------

    def normalize(self, layer, x, training, mask, condition):
        """Center, whiten, recover: two matrix products over the data."""
        rank = len(x.shape)
        axis = layer.axis % rank
        if layer.measures(training):
            data, matrix, rest = self.batch(layer, x, axis, mask)
        else:
            if mask is not None:
                x = moments.without_padding(x, moments.aligned(mask, x))
            mean, matrix = self.stored(layer, x.dtype)
            data = x - moments.viewer(rank, axis)(mean)
            data, rest = ops.moveaxis(data, axis, -1), None
        return self.apply(layer, data, matrix, axis, condition, rest)

    def apply(self, layer, centred, matrix, axis, condition=None, rest=None):
        """W (x - mean), recovered: one matrix product over the data.

        Args:
            layer: its recovery is folded into the matrices.
            centred: data, channels last.
            matrix: (groups, d, d), or (N, groups, d, d) for each sample.
            axis: where the channels go, not negative.
            condition: second input, if any.
            rest: (N, C), what is still to be added to the centred data.
        """
        # y = x W^T: the output index is last.
        blocks, groups, scale, offset = layer.recovery.color(
            layer,
            ops.swapaxes(matrix, -1, -2),
            self.groups(centred.shape[-1]),
            condition,
        )
        y = channel_groups.apply(centred, blocks, groups)
        if rest is not None:
            if len(blocks.shape) == 4:
                shape = (ops.shape(blocks)[0], rest.shape[-1])
                rest = ops.broadcast_to(rest, shape)
            rest = channel_groups.apply(rest, blocks, groups)
            rest = rest if scale is None else rest * scale
            offset = rest if offset is None else rest + offset
        view = moments.viewer(len(y.shape), -1)
        if scale is not None:
            y = primitives.affine(y, view(scale), view(offset + 0.0 * scale))
        elif offset is not None:
            y = y + view(offset)
        return ops.moveaxis(y, -1, axis)

    def batch(self, layer, x, axis, mask):
        """Data (channels last), matrices, and what is to be added to the data.

        Moves the state.
        """
        groups = self.groups(x.shape[axis])
        whole = layer.area.rows == "all"
        table = moments.measure(x, axis, mask, common=whole)
        averages = layer.area.over(table)
        if whole:
            data, mean, covariance = covariances.of_batch(
                table, averages, axis, groups, self.unbiased
            )
            rest = -mean
        else:
            mean, data, weights = covariances.centred(table, averages, axis)
            covariance = covariances.measure(
                data, weights, averages, groups, self.unbiased
            )
            rest = None
        matrix = self.matrix_of(layer, covariance)
        self.follow(layer, mean, covariance, matrix, averages)
        return data, matrix, rest

    def follow(self, layer, mean, covariance, matrix, averages):
        """Move the state towards the batch."""
        statistics = layer.statistics
        if not isinstance(statistics, MovingAverage):
            return
        seen, keep = averages.seen, statistics.momentum
        move(layer.moving_mean, averages.base + mean, seen, keep)
        if seen is not True:
            # One row for each row of the matrices of a part.
            rows = math.prod(self.groups(averages.c).shape[:-1])
            seen = ops.repeat(seen[:, :1], rows, axis=0)
        if self.running == "matrix":
            move(layer.moving_matrix, matrix, seen, keep)
            return
        if statistics.unbiased and not self.unbiased:
            entries = ops.reshape(averages.entries[:, :1], (-1, 1, 1, 1))
            covariance = moments.bessel(covariance, entries)
        if not self.shrink:
            epsilon = layer.acting_epsilon(covariance.dtype)
            covariance = self.regularized(covariance, epsilon)
        groups = self.groups(layer.channels)
        if groups.missing:
            # The state is the identity there.
            real, filler = fills(groups, covariance.dtype)
            covariance = covariance * real + filler
        move(layer.moving_covariance, covariance, seen, keep)
        self.refresh(layer, seen)


def fills(groups, dtype):
    """(1 between channels that exist, the diagonal of the others)."""
    real = groups.real(dtype)
    return real, (1.0 - real) * matrix_roots.identity(groups.width, dtype)
