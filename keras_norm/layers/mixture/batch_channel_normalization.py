"""Batch-channel normalization: batch, then group normalization.

Qiao, Wang, Liu, Shen & Yuille, 2019, https://arxiv.org/abs/1911.09738
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.averages import widen
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import moved

AFFINES = ("group", "channel")


@keras.saving.register_keras_serializable("keras_norm")
class Estimate(MovingAverage):
    """Training normalizes by the state as this batch has moved it.

    The statistics are constants to the gradient.
    """

    def select(self, layer, shift, spread, averages) -> Selected:
        """The new state, its mean relative to the base: not rounded yet."""
        old_shift, old_spread = self.before(layer, averages.dtype)
        seen, base = averages.seen, averages.base
        self.follow(layer, shift, spread, averages)
        return Selected(
            moved(old_shift - base, shift, self.momentum, seen),
            moved(old_spread, spread, self.momentum, seen),
        )


@keras.saving.register_keras_serializable("keras_norm")
class BatchChannelNormalization(ComposedNormalization):
    """y = group_gamma (z - mean_G) / sqrt(variance_G + eps) + group_beta.

    z = gamma (x - mean_B) / sqrt(variance_B + eps) + beta.

    mean_B and variance_B are those of the batch, mean_G and variance_G those
    of a group of channels of each sample of z. The two are one scale-and-shift
    of the data.

    Area: batch, then group. Operation: standardize twice. Recovery: affine,
    twice. Statistics: of the batch part the batch in training and moving
    averages in inference, of the group part the input itself.

    Args:
        groups: number of groups of consecutive channels; -1: one for each
            channel.
        estimate: for batches of a few samples: training normalizes by the
            moving averages, moved by the batch, as constants; the group part
            keeps the training stable.
        channel_affine: are group_gamma and group_beta per "group" or per
            "channel"?
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variances, inside the roots.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale` (of both parts), `beta_...`, `gamma_...`
            (of the batch part), `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: groups that do not divide the channels; an unknown
            `channel_affine`.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchChannelNormalization(groups=4)
    >>> x = np.random.rand(4, 8, 8, 16).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 16)

    Reference:

    - Qiao et al., Rethinking Normalization and Elimination Singularity in
      Neural Networks, 2019, https://arxiv.org/abs/1911.09738
    - Qiao et al., Micro-Batch Training with Batch-Channel Normalization and
      Weight Standardization, 2019, https://arxiv.org/abs/1903.10520

    Note: the authors' program has one group_gamma and group_beta for each
    group, the papers' text one for each channel. Weights: gamma, beta,
    group_gamma, group_beta, moving_mean, moving_variance.
    """

    lifts = False

    def __init__(
        self,
        groups=32,
        estimate=False,
        channel_affine="group",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        if channel_affine not in AFFINES:
            raise errors.unknown_name(
                "channel_affine", channel_affine, list(AFFINES)
            )
        self.outer = Area("each", group_columns(groups))
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=(Estimate if estimate else MovingAverage)(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.groups, self.estimate = groups, estimate
        self.channel_affine = channel_affine
        self.momentum, self.synchronized = float(momentum), synchronized

    def build_state(self, channels):
        """The group part's gamma and beta, then the moving averages."""
        self.outer.check(channels)
        size = self.outer.groups(channels)
        size = channels if self.channel_affine == "channel" else size
        wanted = {"gamma": self.scale, "beta": self.center}
        for name, initial in (("gamma", "ones"), ("beta", "zeros")):
            weight = None
            if wanted[name]:
                weight = self.add_weight(
                    shape=(size,),
                    name=f"group_{name}",
                    initializer=initial,
                    autocast=False,
                )
            setattr(self, f"group_{name}", weight)
        super().build_state(channels)

    def is_affine(self, name):
        """Those of the group part too."""
        return super().is_affine(name.removeprefix("group_"))

    def measures(self, training):
        """The group part always needs the input."""
        return True

    def transform(self, x, training, mask, condition):
        """Both parts and their recoveries are in the factors."""
        return elementwise.normalize_over(self, x, self.axis, training, mask)

    def factors(self, table, training, area=None):
        """Those of both parts in one."""
        if training:
            scale, offset = super().factors(table, training)
        else:
            mean, variance = self.statistics.state(self, table.mean.dtype)
            scale = self.operation.rate(variance, self.epsilon)
            offset = (table.pivot - mean) * scale
        scale, offset = self.recovery.fold(self, scale, offset)
        # The moments of z, of the instances, from those of x.
        inner = table._replace(
            pivot=ops.zeros_like(table.pivot[:1]),
            mean=table.mean * scale + offset,
            variance=table.variance * ops.square(scale),
        )
        averages = self.outer.over(inner)
        mean, variance = mean_and_variance(inner, averages)
        rate = averages.spread(self.operation.rate(variance, self.epsilon))
        offset = (offset - averages.spread(mean)) * rate
        scale = scale * rate
        if averages.single:
            # A group of one entry is its own mean.
            scale, offset = 0.0 * scale, 0.0 * offset
        return self.recovered(scale, offset)

    def recovered(self, scale, offset):
        """By the group part's gamma and beta."""

        def wide(weight):
            weight = ops.cast(weight, scale.dtype)[None]
            return widen(weight, weight.shape[1], self.channels)

        if self.group_gamma is not None:
            gamma = wide(self.group_gamma)
            scale, offset = scale * gamma, offset * gamma
        if self.group_beta is not None:
            offset = offset + wide(self.group_beta)
        return scale, offset
