"""Batch group normalization: groups of channels over groups of samples.

Summers & Dinneen, 2019, https://arxiv.org/abs/1906.03548
Zhou et al., 2020, https://arxiv.org/abs/2012.02782
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.areas import is_count
from keras_norm.core.layer import channels_of
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class BatchGroupNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta per group.

    Area: batch group, `groups` groups of consecutive channels over
    `batch_groups` consecutive parts of the batch. Operation: standardize.
    Recovery: affine per channel. Statistics: the batch in training, moving
    averages (one per channel group) in inference.

    Args:
        groups: number of channel groups; -1: one per channel.
        batch_groups: number of parts of the batch; where it does not divide
            the batch the last parts are smaller. 1: any batch size.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        mode: "grouped" (Summers & Dinneen) or "flat" (Zhou et al.): each
            sample is flattened in the order channels, positions and cut into
            `groups` equal pieces. The two are the same where `groups` divides
            the channels.
        unbiased_moving_variance: store the variance divided by m - 1.
        synchronized: add up the statistics of all replicas; parts are cut from
            the samples that a replica holds.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: groups that do not divide the channels ("flat": channels
            times positions).

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchGroupNormalization(groups=4, batch_groups=2)
    >>> x = np.random.rand(6, 4, 4, 8).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (6, 4, 4, 8)

    Reference:

    - Summers & Dinneen, Four Things Everyone Should Know to Improve Batch
      Normalization, ICLR 2020, https://arxiv.org/abs/1906.03548
    - Zhou et al., Batch Group Normalization, 2020,
      https://arxiv.org/abs/2012.02782

    Note: groups are consecutive channels, as in both papers; a published
    program (IterNorm-pytorch) interleaves them.
    """

    def __init__(
        self,
        groups=32,
        batch_groups=1,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        mode="grouped",
        unbiased_moving_variance=False,
        synchronized=False,
        **kwargs,
    ):
        if mode not in ("grouped", "flat"):
            raise errors.unknown_name("mode", mode, ["grouped", "flat"])
        if not is_count(batch_groups):
            raise errors.received(
                "`batch_groups` must be a positive integer.",
                batch_groups=batch_groups,
            )
        parts = batch_groups > 1
        super().__init__(
            area=Area(
                "parts" if parts else "all",
                group_columns(groups),
                batch_groups if parts else None,
                synchronized,
            ),
            statistics=MovingAverage(momentum, unbiased_moving_variance),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.groups, self.batch_groups = groups, batch_groups
        self.momentum, self.mode = float(momentum), mode
        self.unbiased_moving_variance = unbiased_moving_variance
        self.synchronized = synchronized

    def build(self, inputs_shape):
        """Flat pieces need static positions where they cross channels."""
        channels = channels_of(self.axis, inputs_shape)
        self.crosses = (
            self.mode == "flat"
            and self.groups != -1
            and (self.groups > channels or channels % self.groups > 0)
        )
        if not self.crosses:
            return super().build(inputs_shape)
        total = 1
        for size in inputs_shape[1:]:
            if size is None:
                raise errors.received(
                    "`mode='flat'` needs static sizes where `groups` does not "
                    "divide the channels.",
                    groups=self.groups,
                    input_shape=inputs_shape,
                )
            total *= size
        self.area.check(total)
        self.channels = total
        self.recovery.build(self, channels)
        self.build_state(total)
        self.built = True

    def normalize(self, inputs, training=None, mask=None, condition=None):
        """Pieces that cross channels are a table of one-entry instances."""
        if not self.crosses:
            return super().normalize(inputs, training, mask)
        x = self.widened(inputs)
        first = ops.moveaxis(x, self.axis, 1)
        shape = ops.shape(first)

        def flat(t):
            return ops.reshape(t, (-1, self.channels))

        if mask is not None:
            mask = ops.broadcast_to(moments.aligned(mask, x), ops.shape(x))
            mask = flat(ops.moveaxis(mask, self.axis, 1))
        training = bool(training) and self.trainable
        y = elementwise.normalize_over(self, flat(first), -1, training, mask)
        y = ops.moveaxis(ops.reshape(y, (-1, *shape[1:])), 1, self.axis)
        view = moments.viewer(len(x.shape), self.axis)
        one = ops.ones((1, x.shape[self.axis]), x.dtype)
        gamma, beta = self.recovery.fold(self, one, 0.0 * one)
        return self.narrowed(y * view(gamma) + view(beta))
