"""Divisive normalization: a summation and a suppression field.

Ren, Liao, Urtasun, Sinz & Zemel, 2017, https://arxiv.org/abs/1611.04520
"""

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import window_means
from keras_norm.core import window_sums
from keras_norm.core.deviations import absolute
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.recoveries import Affine

BORDERS = ["zero", "renormalize"]


@keras.saving.register_keras_serializable("keras_norm")
class DivisiveNormalization(NormalizationLayer):
    """y = gamma * v / sqrt(sigma^2 + E_B[v^2]) + beta, v = x - E_A[x].

    A, the summation field, and B, the suppression field, are windows around
    each position, over all channels or over neighbouring ones.

    Area: window. Operation: standardize, smoothed by a learned sigma.
    Recovery: affine per channel. Statistics: the input itself.

    Args:
        sum_window: size of A, one number or one per spatial axis. On (N, C)
            inputs, where there are no positions, the window runs over the
            features.
        sup_window: size of B.
        sigma_initializer: initializer of `sigma` (1,), or its value.
        learn_sigma: train sigma.
        l1: add l1 * mean|v| to the losses of the model.
        border: "zero": the input is continued by zeros, every mean has the
            same divisor. "renormalize": means over the entries inside.
        channel_window: None: A and B span all channels. A number: they span
            that many neighbouring channels.
        axis: channel axis.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: weights aligned to the leading axes; entries of weight 0 count as
            outside.

    Raises:
        ValueError: windows that are not positive or whose number is not that
            of the spatial axes, an unknown border, a negative l1, a channel
            window on (N, C) inputs.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DivisiveNormalization(sum_window=5, sup_window=3)
    >>> tuple(layer(np.random.rand(2, 8, 8, 4).astype("float32")).shape)
    (2, 8, 8, 4)

    Reference:

    - Ren et al., Normalizing the Normalizers, ICLR 2017,
      https://arxiv.org/abs/1611.04520

    Note: the authors' program divides the suppression sum by the size of the
    summation window; here each window has its own divisor, as in the paper.
    Its sigma is a constant by default.
    """

    # sigma takes the place of epsilon.
    fixed = ("epsilon",)

    def __init__(
        self,
        sum_window=5,
        sup_window=5,
        sigma_initializer=1.0,
        learn_sigma=True,
        l1=0.0,
        border="zero",
        channel_window=None,
        axis=-1,
        **kwargs,
    ):
        super().__init__(axis=axis, **kwargs)
        for name, size in (
            ("sum_window", sum_window),
            ("sup_window", sup_window),
        ):
            several = isinstance(size, (list, tuple))
            window_sums.per_axis(name, size, len(size) if several else 1)
        if channel_window is not None:
            window_sums.per_axis("channel_window", channel_window, 1)
        if border not in BORDERS:
            raise errors.unknown_name("border", border, BORDERS)
        if not l1 >= 0:
            raise errors.received("`l1` must not be negative.", l1=l1)
        self.sum_window, self.sup_window = sum_window, sup_window
        self.channel_window, self.border = channel_window, border
        if not isinstance(sigma_initializer, (int, float)):
            sigma_initializer = keras.initializers.get(sigma_initializer)
        self.sigma_initializer = sigma_initializer
        self.learn_sigma, self.l1 = learn_sigma, l1

    def build(self, inputs_shape):
        """Create gamma, beta, sigma."""
        channels = channels_of(self.axis, inputs_shape)
        count = len(inputs_shape) - 2
        if not count and self.channel_window is not None:
            raise errors.received(
                "`channel_window` must be None on inputs without positions, "
                "whose windows run over the features.",
                channel_window=self.channel_window,
                input_shape=inputs_shape,
            )
        window_sums.per_axis("sum_window", self.sum_window, count or 1)
        window_sums.per_axis("sup_window", self.sup_window, count or 1)
        self.add_affine((channels,))
        initializer = self.sigma_initializer
        if isinstance(initializer, (int, float)):
            value = initializer

            def initializer(shape, dtype=None):
                # Keras' Constant rounds to float32 whatever the dtype.
                return ops.convert_to_tensor(np.full(shape, value), dtype=dtype)

        self.sigma = self.add_weight(
            shape=(1,),
            name="sigma",
            initializer=initializer,
            trainable=self.learn_sigma,
            autocast=False,
        )
        self.built = True

    def field(self, x, size, w):
        """Means over the window of that size."""
        axis = self.axis % len(x.shape)
        others = tuple(a for a in range(1, len(x.shape)) if a != axis)
        moved = others or (axis,)
        sizes = window_sums.per_axis("window", size, len(moved))
        whole: tuple = (axis,)
        if self.channel_window is not None:
            moved, sizes = (*moved, axis), (*sizes, self.channel_window)
        if axis in moved:
            whole = ()
        spans = map(window_sums.neighbours, moved, sizes)
        renormalize = self.border == "renormalize"
        return window_means.Field(x, spans, whole, w, renormalize)

    def call(self, inputs, training=None, mask=None):
        """Subtract the mean over A, divide by the deviation over B."""
        x = self.widened(inputs)
        w = None
        if mask is not None:
            w = moments.aligned(mask, x)
            x = moments.without_padding(x, w)
        summation = self.field(x, self.sum_window, w)
        pivot = summation.pivot(x)
        v = summation.centred(x - pivot, pivot)
        if self.l1:
            self.add_loss(self.l1 * summation.overall(absolute(v)))
        suppression = self.field(x, self.sup_window, w)
        sigma = ops.cast(self.sigma, x.dtype)
        variance = ops.square(sigma) + suppression.mean(ops.square(v))
        y = v * ops.rsqrt(ops.maximum(variance, moments.TINY))
        view = moments.viewer(len(x.shape), self.axis)
        one = ops.ones((1, x.shape[self.axis]), x.dtype)
        gamma, beta = Affine().fold(self, one, 0.0 * one)
        return self.narrowed(y * view(gamma) + view(beta))
