"""Channel deconvolution: pooled blocks of channels whitened by one matrix.

Ye et al., 2020, https://arxiv.org/abs/1905.11926
"""

import keras
from keras import ops

from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import linear
from keras_norm.core import moments
from keras_norm.core.deconvolution import inverse_root
from keras_norm.core.deconvolution import refuse_mask
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import positive
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.statistics import check_momentum
from keras_norm.core.statistics import move
from keras_norm.core.whitening import StackedIdentity


@keras.saving.register_keras_serializable("keras_norm")
class ChannelDeconvolution(NormalizationLayer):
    """y = D (x - mean), D ~ (E[x x^T] + epsilon I)^(-1/2) of pooled channels.

    With B = C // block, channel c is entry c // B of block c % B; the blocks
    are pooled and share one mean and one D (block, block), which comes from
    coupled Newton steps on the second moment divided by its Frobenius norm.
    What B * block leaves of the channels is standardized by one mean and one
    variance for all of them.

    Area: batch, all blocks. Operation: whiten (Newton). Recovery: none.
    Statistics: the batch in training, moving averages in inference.

    Args:
        block: channels whitened together, at most all.
        iterations: Newton steps; 5 whitens in part.
        sampling_stride: statistics come from every sampling_stride^k-th entry
            of each channel, k the number of axes of positions; from all where
            one of these is shorter than `sampling_stride`.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the diagonal of the second moment.
        synchronized: add up the statistics of all replicas.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: refused.

    Raises:
        ValueError: a block below 1, an axis outside the input, a mask.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.ChannelDeconvolution(block=4)
    >>> x = np.random.normal(size=(8, 6, 6, 8)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (8, 6, 6, 8)

    Reference:

    - Ye et al., Network Deconvolution, ICLR 2020,
      https://arxiv.org/abs/1905.11926

    Note: as in the authors' program, what is inverted is the moment about
    zero although the data are centred, and the first batch is copied to the
    state. Their order of entries counts too: for pooled blocks channel by
    channel, each over all samples; for the rest sample by sample. State:
    moving_mean (block,), moving_matrix (1, block, block), moving_rest_mean
    (1,), moving_rest_variance (1,) if there is a rest, step.
    """

    fixed = AFFINE

    def __init__(
        self,
        block=64,
        iterations=5,
        sampling_stride=3,
        axis=-1,
        momentum=0.9,
        epsilon=1e-2,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            axis=axis, epsilon=epsilon, center=False, scale=False, **kwargs
        )
        positive("block", block)
        positive("iterations", iterations, 0)
        positive("sampling_stride", sampling_stride)
        self.block, self.iterations = block, iterations
        self.sampling_stride = sampling_stride
        self.momentum = check_momentum("momentum", momentum)
        self.synchronized = synchronized

    def build(self, inputs_shape):
        """Create the state."""
        channels = channels_of(self.axis, inputs_shape)
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={self.axis: channels}
        )
        self.width = min(self.block, channels)
        self.rest = channels % self.width
        self.add_state("moving_mean", (self.width,), "zeros")
        shape = (1, self.width, self.width)
        self.add_state("moving_matrix", shape, StackedIdentity())
        if self.rest:
            self.add_state("moving_rest_mean", (1,), "zeros")
            self.add_state("moving_rest_variance", (1,), "ones")
        self.add_state("step", (), "zeros", "int32")
        self.built = True

    def call(self, inputs, training=None, mask=None):
        """Whiten the blocks, standardize the rest."""
        refuse_mask(mask)
        x = ops.moveaxis(self.widened(inputs), self.axis, -1)
        training = bool(training) and self.trainable
        keep = None
        if training:
            # The first batch is copied.
            keep = ops.cast(self.step > 0, x.dtype) * self.momentum
        y = self.whitened(x[..., : x.shape[-1] - self.rest], keep)
        if self.rest:
            rest = self.standardized(x[..., -self.rest :], keep)
            y = ops.concatenate([y, rest], axis=-1)
        if training:
            seen = ops.cast(moments.size_of(x, range(len(x.shape))), "float32")
            self.step.assign(self.step + ops.cast(seen > 0, "int32"))
        return self.narrowed(ops.moveaxis(y, -1, self.axis))

    def whitened(self, x, keep):
        """All pooled blocks; `keep` is None in inference."""
        blocks = x.shape[-1] // self.width
        rows = ops.reshape(x, (-1, self.width, blocks))
        # Block by block, as the sample is counted.
        rows = ops.transpose(rows, (2, 0, 1))
        if keep is None:
            matrix = ops.cast(self.moving_matrix, x.dtype)[0]
            rows = rows - ops.cast(self.moving_mean, x.dtype)
            y = ops.matmul(rows, ops.transpose(matrix))
        else:
            base, mean, matrix = self.measured(rows, self.stride(x), keep)
            matrix = ops.transpose(matrix)
            y = ops.matmul(rows - base, matrix) - ops.matmul(mean, matrix)
        return ops.reshape(ops.transpose(y, (1, 2, 0)), ops.shape(x))

    def measured(self, rows, stride, keep):
        """(base, mean relative to it, matrix); moves the state."""
        sample = ops.reshape(rows, (-1, self.width))[::stride]
        # TensorFlow forgets the width where the stride is a tensor.
        sample = ops.reshape(sample, (-1, self.width))
        table, averages = linear.as_one_part(
            sample, synchronized=self.synchronized
        )
        mean, data, weights = covariances.centred(table, averages, 2)
        cut = channel_groups.ChannelGroups(self.width, self.width)
        covariance = covariances.measure(data, weights, averages, cut)[0]
        absolute = averages.base + mean
        moment = covariance + ops.transpose(absolute) * absolute
        matrix = inverse_root(moment, self.epsilon, self.iterations)
        seen = averages.seen
        move(self.moving_mean, absolute, seen, keep)
        if seen is not True:
            seen = seen[:, :1]
        move(self.moving_matrix, matrix, seen, keep)
        return averages.base, mean, matrix

    def standardized(self, x, keep):
        """What is left, by one mean and one variance."""
        if keep is None:
            mean, variance = (
                ops.cast(v, x.dtype)
                for v in (self.moving_rest_mean, self.moving_rest_variance)
            )
            return (x - mean) * ops.rsqrt(variance + self.epsilon)
        n = ops.shape(x)[0]
        # Channel by channel within a sample.
        entries = ops.reshape(ops.moveaxis(x, -1, 1), (n, self.per_sample(x)))
        sample = ops.reshape(entries[:, :: self.stride(x)], (-1, 1))
        table, averages = linear.as_one_part(
            sample, synchronized=self.synchronized
        )
        mean, variance = mean_and_variance(table, averages)
        variance = moments.bessel(variance, averages.entries)
        move(self.moving_rest_mean, averages.base + mean, averages.seen, keep)
        move(self.moving_rest_variance, variance, averages.seen, keep)
        rate = ops.rsqrt(variance + self.epsilon)
        return (x - averages.base[0] - mean[0]) * rate[0]

    def per_sample(self, x):
        """Entries of a sample."""
        total = 1
        for size in ops.shape(x)[1:]:
            total = total * size
        return total

    def stride(self, x):
        """Every how many entries one is seen."""
        sizes = ops.shape(x)[1:-1]
        stride = self.sampling_stride ** len(sizes)
        known = [n for n in sizes if isinstance(n, int)]
        if stride == 1 or min(known, default=stride) < self.sampling_stride:
            return 1
        for size in sizes:
            if not isinstance(size, int):
                enough = size >= self.sampling_stride
                stride = ops.where(enough, stride, 1)
        return stride
