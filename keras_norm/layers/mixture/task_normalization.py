"""TaskNorm: statistics of a context set, mixed with those of each sample.

Bronskill, Gordon, Requeima, Nowozin & Turner, 2020,
https://arxiv.org/abs/2003.03284
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import area_mixture
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.state import read
from keras_norm.core.statistics import put

AUGMENTS = ("instance", "layer")


@keras.saving.register_keras_serializable("keras_norm")
class TaskNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mixed moments.

    With alpha = sigmoid(slope * n + offset) for a context set of n samples,
    its moments mean_c, variance_c, and the sample's own mean_s, variance_s:

    mean = alpha mean_c + (1 - alpha) mean_s,
    variance = alpha (variance_c + (mean_c - mean)^2)
             + (1 - alpha) (variance_s + (mean_s - mean)^2).

    Area: batch of the context, and instance or layer. Operation: standardize.
    Recovery: affine. Statistics: the context set and the input.

    Args:
        augment: "instance" (TaskNorm-I) or "layer" (TaskNorm-L): the sample's
            own moments.
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        unbiased: divide each variance by its own m - 1.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, context]; with
            "instance" of rank at least 3.
        context: what the context's moments are those of; the gradient flows
            into it. None: in training the inputs themselves; in inference the
            context of the last training call (before the first of mean 0,
            variance 1 and no samples).
        training: True stores the moments of the context and its number of
            samples.
        mask: weights aligned to the leading axes of the inputs.
        context_mask: the same for the context.

    Raises:
        ValueError: an unknown `augment`; "instance" for inputs without
            positions; a context with other channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.TaskNormalization()
    >>> context = np.random.rand(5, 8, 8, 3).astype("float32")
    >>> target = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> y = layer(context, training=True)
    >>> tuple(layer(target).shape)
    (2, 8, 8, 3)
    >>> tuple(layer(target, context).shape)
    (2, 8, 8, 3)

    Reference:

    - Bronskill et al., TaskNorm: Rethinking Batch Normalization for
      Meta-Learning, ICML 2020, https://arxiv.org/abs/2003.03284

    Note: as in the authors' program variances are unbiased. Its second call
    uses the context of the first with its gradient: call with `context` for
    that. An `offset` of 1e4 is MetaBN: the context alone. Weights: gamma,
    beta, slope, offset, context_mean, context_variance, context_size.
    """

    lifts = False

    def __init__(
        self,
        augment="instance",
        axis=-1,
        epsilon=1e-5,
        unbiased=True,
        **kwargs,
    ):
        if augment not in AUGMENTS:
            raise errors.unknown_name("augment", augment, list(AUGMENTS))
        super().__init__(
            area=Area(),
            statistics="batch",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.augment, self.unbiased = augment, unbiased

    def build(self, inputs_shape, context_shape=None):
        """The weights; contexts have the channels of the inputs."""
        if several(inputs_shape):
            inputs_shape, context_shape = self.split_pair(inputs_shape)
        if len(inputs_shape) == 2 and self.augment == "instance":
            raise errors.received(
                "The input must have positions, (batch, ..., channels): an "
                "instance of one entry has no deviation.",
                "Use augment='layer'.",
                augment=self.augment,
                input_shape=inputs_shape,
            )
        super().build(inputs_shape)
        if context_shape is not None:
            self.check_context(context_shape)
        # There may be one input or two.
        self.input_spec = None

    def check_context(self, shape):
        """Refuse a context that the moments cannot come from."""
        rank = len(shape)
        inside = -rank <= self.axis < rank
        if not inside or shape[self.axis] != self.channels:
            raise errors.received(
                "`context` must have as many channels as the input.",
                channels=self.channels,
                context_shape=tuple(shape),
            )

    def build_state(self, channels):
        """The weights of alpha, then the context."""
        for name in ("slope", "offset"):
            weight = self.add_weight(
                shape=(), name=name, initializer="zeros", autocast=False
            )
            setattr(self, name, weight)
        self.add_state("context_mean", (channels,), "zeros")
        self.add_state("context_variance", (channels,), "ones")
        self.add_state("context_size", (), "zeros")

    def call(
        self,
        inputs,
        context=None,
        training=None,
        mask=None,
        context_mask=None,
    ):
        """The context is the second argument, or second in a list."""
        if isinstance(inputs, (list, tuple)):
            inputs, context = self.split_pair(inputs)
            if isinstance(mask, (list, tuple)):
                mask, *others = mask
                if others and context_mask is None:
                    context_mask = others[0]
        if context is None:
            return self.normalize(inputs, training, mask)
        self.check_context(context.shape)
        return self.normalize(inputs, training, mask, (context, context_mask))

    def transform(self, x, training, mask, condition):
        """As other layers, but for where the context comes from."""
        table = moments.measure(x, self.axis, mask)
        if condition is not None:
            context, context_mask = condition
            context = ops.cast(context, x.dtype)
            found = self.of(
                moments.measure(context, self.axis, context_mask), training
            )
        elif training:
            found = self.of(table, training)
        else:
            found = self.kept(x.dtype)
        scale, offset = self.mixed(table, *found)
        scale, offset = self.recovery.fold(self, scale, offset)
        return elementwise.apply(table.data, table.view, scale, offset)

    def of(self, table, training):
        """(base, mean - base, variance, samples) of a context."""
        averages, mean, variance = area_mixture.measured(
            table, self.area, unbiased=self.unbiased
        )
        size = ops.cast(averages.n, averages.dtype)
        if averages.count is not None:
            some = ops.any(averages.count > 0, axis=-1)
            size = ops.sum(ops.cast(some, averages.dtype))
        if training:
            self.keep(averages, mean, variance, size)
        return averages.base, mean, variance, size

    def kept(self, dtype):
        """The same of the context of the last training call."""
        mean, variance, size = (
            ops.cast(getattr(self, f"context_{name}"), dtype)
            for name in ("mean", "variance", "size")
        )
        return mean[None], ops.zeros_like(mean[None]), variance[None], size

    def keep(self, averages, mean, variance, size):
        """Store a context, where there is any."""
        seen, dtype = averages.seen, averages.dtype
        values = {"mean": averages.base + mean, "variance": variance}
        for name, value in values.items():
            variable = getattr(self, f"context_{name}")
            if seen is not True:
                old = read(variable, dtype)[None]
                value = ops.where(seen, value, old)
            put(variable, value)
        variable = self.context_size
        size = ops.where(size > 0, size, read(variable, dtype))
        variable.assign(ops.cast(size, variable.dtype))

    def mixed(self, table, base, mean, variance, size):
        """(scale, offset) by the moments of the context and the samples."""
        own = area_mixture.of_samples(self.augment, table, self.unbiased)
        slope, offset = (
            ops.cast(w, variance.dtype) for w in (self.slope, self.offset)
        )
        alpha = ops.sigmoid(slope * size + offset)
        # mean_c - mean_s.
        apart = (base - table.pivot) + mean - own.shift
        shift = own.shift + alpha * apart
        # Both squares together.
        between = alpha * (1.0 - alpha) * ops.square(apart)
        spread = own.variance + alpha * (variance - own.variance) + between
        rate = ops.rsqrt(spread + self.epsilon)
        return rate, -shift * rate
