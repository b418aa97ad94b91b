"""Styles: the moments of another feature map, or a map of a latent.

Huang & Belongie, 2017, https://arxiv.org/abs/1703.06868
Karras, Laine & Aila, 2019, https://arxiv.org/abs/1812.04948
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.recoveries import Nothing


@keras.saving.register_keras_serializable("keras_norm")
class Style(Nothing):
    """Deviation and mean of another feature map: y = std(s) x + mean(s).

    The condition is the style, of any size of positions, or (style, its mask).

    Args:
        epsilon: inside the root of the style's variance.
        unbiased: divide that variance by m - 1.
    """

    condition = "a feature map with the same channels"

    def __init__(self, epsilon=1e-5, unbiased=False):
        self.epsilon, self.unbiased = epsilon, unbiased

    def build(self, layer, channels, condition_shape=None) -> None:
        """No weights; the style must have the same channels."""
        rank = len(condition_shape)
        inside = rank > 1 and -rank <= layer.axis < rank
        style = condition_shape[layer.axis] if inside else None
        if style != channels:
            raise errors.received(
                "The style must have as many channels as the input.",
                channels=channels,
                style_shape=condition_shape,
            )

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by the style's deviation, add its mean."""
        style, mask = condition, None
        if isinstance(condition, (list, tuple)):
            style, mask = condition
        style = ops.cast(style, scale.dtype)
        table = moments.measure(style, layer.axis, mask)
        variance = table.variance
        if self.unbiased:
            entries = table.positions if table.count is None else table.count
            variance = moments.bessel(variance, entries)
        deviation = ops.sqrt(variance + self.epsilon)
        mean = table.pivot + table.mean
        return scale * deviation, offset * deviation + mean


@keras.saving.register_keras_serializable("keras_norm")
class DenseStyle(Nothing):
    """y = (1 + W_g w) x + W_b w from a latent w by one dense map.

    Args:
        equalized_learning_rate: the kernel is stored as N(0, 1) and multiplied
            by gain / sqrt(fan in) at every call; else it is initialized so.
        gain: see above.
    """

    condition = "latents (N, D)"

    def __init__(self, equalized_learning_rate=True, gain=1.0):
        self.equalized_learning_rate = equalized_learning_rate
        self.gain = gain

    def build(self, layer, channels, condition_shape=None) -> None:
        """The kernel (D, 2 C), first C for gamma, and the bias (2 C,)."""
        if len(condition_shape) != 2 or condition_shape[-1] is None:
            raise errors.received(
                "Latents must be of shape (N, D), D a static size.",
                condition_shape=condition_shape,
            )
        fan_in = condition_shape[-1]
        deviation = self.gain / fan_in**0.5
        if self.equalized_learning_rate:
            deviation = 1.0
        layer.kernel = layer.add_weight(
            shape=(fan_in, 2 * channels),
            name="kernel",
            initializer=keras.initializers.RandomNormal(stddev=deviation),
            autocast=False,
        )
        layer.bias = layer.add_weight(
            shape=(2 * channels,),
            name="bias",
            initializer="zeros",
            autocast=False,
        )

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by 1 + gamma, add beta."""
        w = ops.cast(condition, scale.dtype)
        kernel = ops.cast(layer.kernel, scale.dtype)
        if self.equalized_learning_rate:
            kernel = kernel * (self.gain / kernel.shape[0] ** 0.5)
        both = ops.matmul(w, kernel) + ops.cast(layer.bias, scale.dtype)
        gamma, beta = ops.split(both, 2, axis=-1)
        return scale * (1.0 + gamma), offset * (1.0 + gamma) + beta
