"""EvoNorm: normalization and activation found together by search.

Liu, Brock, Simonyan & Le, 2020, https://arxiv.org/abs/2004.02967
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.entries import absolute
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Scale
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.statistics import MovingAverage

VARIANTS = ("B0", "B1", "B2", "S0", "S1", "S2")


@keras.saving.register_keras_serializable("keras_norm")
class EvoNorm(ComposedNormalization):
    """y = gamma * f(x) + beta with one of six searched f.

    | variant | f(x) |
    |---|---|
    | B0 | x / max(sqrt(batch var + eps), v x + sqrt(instance var + eps)) |
    | B1 | x / max(sqrt(batch var + eps), (x + 1) sqrt(instance ms + eps)) |
    | B2 | x / max(sqrt(batch var + eps), sqrt(instance ms + eps) - x) |
    | S0 | x sigmoid(v x) / sqrt(group var + eps) |
    | S1 | x sigmoid(x) / sqrt(group var + eps) |
    | S2 | x sigmoid(x) / sqrt(group ms + eps) |

    (ms: mean of squares.) Area: batch and instance (B), group (S). Operation:
    scale. Recovery: affine. Statistics: B: the batch in training, a moving
    variance in inference; S: the input itself.

    Args:
        variant: "B0", "B1", "B2", "S0", "S1" or "S2".
        groups: number of groups of channels of the S variants.
        axis: channel axis.
        momentum: fraction kept of the moving variance.
        epsilon: added inside the roots.
        nonlinearity: False leaves gamma * x + beta.
        unbiased_moving_variance: store the variance divided by m - 1, as timm
            does; the authors' and the default are biased.
        v_initializer: initializer of `v` (C,), B0 and S0.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an unknown variant; groups that do not divide the channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.EvoNorm("S0", groups=4)
    >>> tuple(layer(np.random.rand(2, 4, 4, 8).astype("float32")).shape)
    (2, 4, 4, 8)

    Reference:

    - Liu et al., Evolving Normalization-Activation Layers, NeurIPS 2020,
      https://arxiv.org/abs/2004.02967

    Note: variances are biased. Epsilon is the paper's 1e-5; timm has 1e-3 for
    B0.
    """

    def __init__(
        self,
        variant="B0",
        groups=32,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        nonlinearity=True,
        unbiased_moving_variance=False,
        v_initializer="ones",
        synchronized=False,
        **kwargs,
    ):
        if variant not in VARIANTS:
            raise errors.unknown_name("variant", variant, list(VARIANTS))
        batch = variant[0] == "B"
        whole = Area(synchronized=synchronized)
        keeps = MovingAverage(momentum, unbiased_moving_variance)
        super().__init__(
            area=whole if batch else Area("each", group_columns(groups)),
            operation=Scale() if variant == "S2" else ScaleByDeviation(),
            statistics=keeps if batch else "batch",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.variant, self.groups = variant, groups
        self.momentum, self.nonlinearity = float(momentum), nonlinearity
        self.unbiased_moving_variance = unbiased_moving_variance
        self.v_initializer = keras.initializers.get(v_initializer)
        self.synchronized = synchronized

    def build_state(self, channels):
        """v, then the moving variance."""
        if self.variant in ("B0", "S0"):
            self.add_option("v", (channels,))
        super().build_state(channels)

    def normalize(self, inputs, training=None, mask=None, condition=None):
        """X times a rate, the rate from x itself."""
        x = self.widened(inputs)
        training = bool(training) and self.trainable
        view = moments.viewer(len(x.shape), self.axis)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        y = x
        if self.nonlinearity:
            y = self.activated(x, training, mask, view)
        one = ops.ones((1, self.channels), x.dtype)
        gamma, beta = self.recovery.fold(self, one, 0.0 * one)
        return self.narrowed(y * view(gamma) + view(beta))

    def activated(self, x, training, mask, view):
        """f(x) of the variant."""
        v = 1.0
        if self.variant in ("B0", "S0"):
            v = view(ops.cast(self.v, x.dtype)[None])
        if self.variant[0] == "S":
            table = moments.measure(x, self.axis, mask, self.variant != "S2")
            averages = self.area.over(table)
            _, spread = self.operation.measure(table, averages, self.epsilon)
            rate = averages.spread(ops.rsqrt(spread + self.epsilon))
            return x * ops.sigmoid(v * x) * view(rate)
        return x / ops.maximum(*self.denominators(x, v, training, mask, view))

    def denominators(self, x, v, training, mask, view):
        """Batch deviation and instance term of the B variants."""
        table = moments.measure(x, self.axis, mask)
        if training:
            averages = self.area.over(table)
            _, variance = self.operation.measure(table, averages, self.epsilon)
            self.statistics.follow(self, None, variance, averages)
            variance = averages.spread(variance)
        else:
            _, variance = self.statistics.state(self, x.dtype)
        batch = view(ops.sqrt(variance + self.epsilon))
        if self.variant == "B0":
            deviation = ops.sqrt(table.variance + self.epsilon)
            return batch, v * x + view(deviation)
        mean = table.pivot + table.mean
        square = table.variance + ops.square(mean) + self.epsilon
        root = ops.sqrt(square)
        if self.variant == "B1":
            return batch, (x + 1.0) * view(root)
        # root - x = (root - |mean|) + (|mean| - mean) + (mean - x), each term
        # without cancellation.
        size = absolute(mean)
        above = (table.variance + self.epsilon) / (root + size)
        above = above + ops.relu(-2.0 * mean) + table.mean
        return batch, view(above) - table.data
