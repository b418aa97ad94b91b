"""IBN: instance normalization for some channels, batch for the others.

Pan, Luo, Shi & Tang, 2018, https://arxiv.org/abs/1807.09441
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import area_mixture
from keras_norm.core.areas import Area
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage

VARIANTS = ("a", "b")


@keras.saving.register_keras_serializable("keras_norm")
class InstanceBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, two areas.

    In variant "a" mean and variance are those of the instance in the first
    int(ratio * C) channels, those of the batch in the others. In variant "b"
    they are those of the instance, x being the sum of two inputs.

    IBN-a takes the place of the first batch normalization of a residual block,
    IBN-b follows the addition that ends one.

    Area: batch for some channels, instance for the others. Operation:
    standardize. Recovery: affine. Statistics: of the batch part the batch in
    training and moving averages in inference, else the input itself.

    Args:
        ratio: "a": share of the channels with the instance's statistics, in
            [0, 1]: 0 is batch, 1 instance normalization.
        variant: "a" or "b".
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 3, or for "b" the list
            [inputs, shortcut].
        shortcut: "b": what is added to the inputs before; None: nothing.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an unknown `variant`; a `ratio` outside [0, 1]; a shortcut
            for "a"; inputs without positions.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.InstanceBatchNormalization(ratio=0.5)
    >>> x = np.random.rand(4, 8, 8, 6).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 6)
    >>> tuple(layer.moving_mean.shape)
    (3,)

    Reference:

    - Pan et al., Two at Once: Enhancing Learning and Generalization Capacities
      via IBN-Net, ECCV 2018, https://arxiv.org/abs/1807.09441

    Note: gamma and beta have an entry for every channel, those of the instance
    part first. The authors' program fails where less than half of the channels
    are the instance's. IBN-b has the statistics of
    `InstanceNormalization(epsilon=epsilon)`.
    """

    lifts = False

    def __init__(
        self,
        ratio=0.5,
        variant="a",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        if variant not in VARIANTS:
            raise errors.unknown_name("variant", variant, list(VARIANTS))
        number = isinstance(ratio, (int, float)) and not isinstance(ratio, bool)
        if not number or not 0 <= ratio <= 1:
            raise errors.received(
                "`ratio` is the share of channels normalized by instance and "
                "must lie in [0, 1].",
                ratio=ratio,
            )
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.ratio, self.variant = ratio, variant
        self.momentum, self.synchronized = float(momentum), synchronized
        self.split = 0

    def build(self, inputs_shape, shortcut_shape=None):
        """Gamma and beta, and the moving averages of the batch part."""
        if several(inputs_shape):
            inputs_shape, shortcut_shape = self.split_pair(inputs_shape)
        if shortcut_shape is not None:
            self.check_shortcut(inputs_shape, shortcut_shape)
        super().build(inputs_shape)
        if self.split and len(inputs_shape) == 2:
            raise errors.received(
                "The input must have positions, (batch, ..., channels): an "
                "instance of one entry has no deviation.",
                "Use ratio=0, which is batch normalization.",
                ratio=self.ratio,
                input_shape=inputs_shape,
            )
        # There may be one input or two.
        self.input_spec = None

    def build_state(self, channels):
        """State of the channels after the instance's."""
        whole = self.variant == "b"
        self.split = channels if whole else int(channels * self.ratio)
        if self.split < channels:
            super().build_state(channels - self.split)

    def check_shortcut(self, shape, other):
        """Refuse a second input that cannot be added."""
        if self.variant != "b":
            raise errors.received(
                "`shortcut` is an input of variant='b' only.",
                variant=self.variant,
            )
        pairs = zip(shape, other, strict=False)
        differ = any(a != b for a, b in pairs if None not in (a, b))
        if differ or len(shape) != len(other):
            raise errors.received(
                "`shortcut` must have the shape of the input.",
                input_shape=tuple(shape),
                shortcut_shape=tuple(other),
            )

    def call(self, inputs, shortcut=None, training=None, mask=None):
        """The shortcut is the second argument, or second in a list."""
        if isinstance(inputs, (list, tuple)):
            inputs, shortcut = self.split_pair(inputs)
            mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        x = self.widened(inputs)
        if shortcut is not None:
            self.check_shortcut(x.shape, shortcut.shape)
            x = x + ops.cast(shortcut, x.dtype)
        return self.normalize(x, training, mask)

    def measures(self, training):
        """Only the batch part may do without."""
        return training or self.split > 0

    def factors(self, table, training, area=None):
        """Those of both parts side by side."""
        parts = []
        if self.split:
            own = channels_of(table, slice(self.split))
            parts.append(area_mixture.of_samples("instance", own))
        if self.split < self.channels:
            rest = channels_of(table, slice(self.split, None))
            parts.append(area_mixture.of_batch(self, rest, training))
        found = []
        for shift, variance in parts:
            rate = ops.rsqrt(variance + self.epsilon)
            found.append((rate, -shift * rate))
        if len(found) == 1:
            return found[0]
        rows = ops.zeros((ops.shape(table.mean)[0], 1), table.mean.dtype)
        return tuple(
            ops.concatenate([rows + t for t in both], axis=-1)
            for both in zip(*found, strict=True)
        )


def channels_of(table, part):
    """The table of some of the channels; its data stay those of all."""
    count = table.count
    if count is not None and count.shape[1] > 1:
        count = count[:, part]
    return table._replace(
        pivot=table.pivot[:, part],
        count=count,
        mean=table.mean[:, part],
        variance=table.variance[:, part],
    )
