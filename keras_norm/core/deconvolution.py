"""Network deconvolution: what its dense and convolutional layers share.

The inputs of the kernel, of a convolution its patches, are cut to rows of
features that are whitened together: (M, G * F), for G groups with a mean and a
matrix each. Where the entries of a group are more than F, they make `blocks`
rows: all of them share one mean and one matrix. What whitens is not applied to
the data but folded into kernel and bias.
"""

from keras import ops

from keras_norm import errors
from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import linear
from keras_norm.core.layer import positive
from keras_norm.core.statistics import check_momentum
from keras_norm.core.statistics import move
from keras_norm.core.whitening import StackedIdentity
from keras_norm.ops import matrix_roots


def refuse_mask(mask):
    """Refuse masks: to go on without them would be silently wrong."""
    if mask is not None:
        raise errors.received(
            "`mask` is not supported: whitening mixes entries that are masked "
            "with entries that are not.",
            "Leave the masked entries out, or end the mask before this layer.",
            mask_shape=tuple(mask.shape),
        )


def inverse_root(covariance, epsilon, iterations):
    """Newton's (covariance + epsilon I)^(-1/2), scaled by the Frobenius norm.

    Frobenius is less than the trace: as many steps whiten more.
    """
    eye = matrix_roots.identity(covariance.shape[-1], covariance.dtype)
    regular = covariance + epsilon * eye
    return matrix_roots.newton_roots(regular, iterations, "frobenius")[1]


class Deconvolution(linear.KernelLayer):
    """Base of the layers that whiten the inputs of their kernel.

    Args:
        block: channels (of a convolution) or entries of a row.
        iterations: Newton steps.
        momentum: fraction kept of the moving averages.
        synchronized: add up the statistics of all replicas.
        **kwargs: see `KernelLayer`.
    """

    # Places of the kernel that see one channel.
    taps = 1

    def __init__(
        self, block, iterations=5, momentum=0.9, synchronized=False, **kwargs
    ):
        super().__init__(**kwargs)
        positive("block", block)
        positive("iterations", iterations, 0)
        self.block, self.iterations = block, iterations
        self.momentum = check_momentum("momentum", momentum)
        self.synchronized = synchronized

    def build_rows(self, groups, features, blocks):
        """Create the state.

        Args:
            groups: groups of the kernel, each with its own statistics.
            features: entries of a row that are whitened together.
            blocks: rows of one group in one input of the kernel.
        """
        self.cut = channel_groups.ChannelGroups(groups * features, features)
        self.blocks = blocks
        self.add_state("moving_mean", (groups * features,), "zeros")
        self.add_state("moving_matrix", self.cut.shape, StackedIdentity())

    # What the layers say ------------------------------------------------------

    def prepared(self, x, training):
        """The data with the channels last and, to be measured, padded."""
        return x

    def rows(self, x):
        """Data -> (M, groups * features)."""
        raise NotImplementedError

    def entries(self, kernel):
        """Kernel -> (features, blocks, groups, outputs of a group)."""
        raise NotImplementedError

    def of_entries(self, entries):
        """The inverse of `entries`."""
        raise NotImplementedError

    def linear(self, x, kernel, training):
        """The kernel over the data."""
        raise NotImplementedError

    # The call -----------------------------------------------------------------

    def call(self, inputs, training=None, mask=None):
        """Whiten and apply the kernel, which is one operation."""
        refuse_mask(mask)
        training = bool(training) and self.trainable
        x = self.prepared(self.widened(inputs), training)
        if training:
            base, mean, matrix = self.measured(x)
        else:
            base = ops.cast(self.moving_mean, x.dtype)[None]
            mean, matrix = 0.0 * base, ops.cast(self.moving_matrix, x.dtype)
        pivot = self.pivot(base, training)
        if pivot is not None:
            x = x - pivot
            mean = mean + (base - self.spread(pivot))
        else:
            mean = mean + base
        kernel, offset = self.folded(mean, matrix)
        return self.result(self.linear(x, kernel, training) + offset)

    def result(self, y):
        """Bias, activation, dtype."""
        return self.finish(y)

    def measured(self, x):
        """(base, mean relative to it, matrix) of the batch; moves the state."""
        rows = self.rows(x)
        table, averages = linear.as_one_part(
            rows, synchronized=self.synchronized
        )
        mean, data, weights = covariances.centred(table, averages, 2)
        covariance = covariances.measure(data, weights, averages, self.cut)
        matrix = inverse_root(covariance, self.epsilon, self.iterations)
        seen = averages.seen
        move(self.moving_mean, averages.base + mean, seen, self.momentum)
        if seen is not True:
            seen = seen[:, :1]
        move(self.moving_matrix, matrix, seen, self.momentum)
        return averages.base, mean, matrix

    # Far from zero ------------------------------------------------------------

    def pivot(self, base, training):
        """What is subtracted from the data, so that no large numbers cancel.

        A number for each channel, or where channels share a mean one for all:
        near the mean, whose rest goes into the bias. One of the base, as it
        is: equal data become exactly 0.
        """
        if self.blocks > 1:
            return base[0, :1]
        # What the middle of the kernel sees is padding the least often.
        return ops.reshape(base, (-1, self.taps))[:, self.taps // 2]

    def spread(self, pivot):
        """A pivot for each entry of a row, (1, groups * features)."""
        if self.blocks > 1:
            return pivot[None]
        return ops.repeat(pivot, self.taps)[None]

    # Folding ------------------------------------------------------------------

    def folded(self, mean, matrix):
        """(kernel, offset) that do to the data what the kernel does to rows."""
        groups, features, _ = self.cut.shape
        entries = self.entries(ops.cast(self.kernel, mean.dtype))
        shape = ops.shape(entries)
        k = ops.reshape(
            ops.transpose(entries, (2, 0, 1, 3)), (groups, features, -1)
        )
        # A row x gives D x: y = k^T D (x - mean).
        k = ops.matmul(ops.swapaxes(matrix, -1, -2), k)
        mean = ops.reshape(mean, (groups, 1, features))
        offset = ops.reshape(ops.matmul(mean, k), (groups, self.blocks, -1))
        offset = -ops.reshape(ops.sum(offset, axis=1), (-1,))
        k = ops.reshape(k, (groups, *shape[:2], shape[3]))
        return self.of_entries(ops.transpose(k, (1, 2, 0, 3))), offset

    def folded_weights(self):
        """(kernel, bias) of the Keras layer that equals inference.

        They are new tensors, made of kernel, bias and state.
        """
        dtype = self.moving_mean.dtype
        mean = ops.cast(self.moving_mean, dtype)[None]
        kernel, bias = self.folded(mean, ops.cast(self.moving_matrix, dtype))
        if self.use_bias:
            bias = bias + ops.cast(self.bias, dtype)
        return kernel, bias
