"""Adaptive convolution-based normalization: local, with a style's filters.

Cho, Kim, Kim, Kim & Choo, 2019, https://arxiv.org/abs/1911.13271
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import map_networks
from keras_norm.core import sample_convolution
from keras_norm.core.generated_filters import GeneratedFilters
from keras_norm.core.generated_filters import shifted_by
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.windows import Window


@keras.saving.register_keras_serializable("keras_norm")
class AdaptiveConvolutionNormalization(ComposedNormalization):
    """y(p) = sum_q w(q) (x(p + q) - mean(p)) / deviation(p) + b, window-wise.

    deviation(p) = sqrt(variance(p) + epsilon); mean and variance are those of
    each channel in the window around p. Filters w and offsets b of each sample
    come from a style by dense maps; they start as the identity and 0, so that
    the layer starts as a normalization by local mean and deviation.

    Area: window. Operation: standardize. Recovery: generated convolution.
    Statistics: the input itself.

    Args:
        kernel_size: of windows and filters, one number or one for each spatial
            axis.
        depthwise: filters see their own channel only; else they mix all.
        axis: channel axis of x, and of a style that is a map.
        epsilon: added to the variance, inside the root.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor with one to three spatial axes, or the list
            [inputs, style].
        style: features (N, D), or a map (N, h, w, D) of any size, which is
            averaged over its positions.
        mask: refused.

    Raises:
        ValueError: no style; a mask; a number of sizes other than that of the
            spatial axes.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.AdaptiveConvolutionNormalization(kernel_size=3)
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> style = np.random.rand(2, 10).astype("float32")
    >>> tuple(layer(x, style).shape)
    (2, 8, 8, 3)

    Reference:

    - Cho et al., Unpaired Image Translation via Adaptive Convolution-based
      Normalization, 2019, https://arxiv.org/abs/1911.13271

    Note: there is no public program. At the border windows are cut: entries
    outside take part neither in the moments nor in the sum over q. (Zeros in
    their place would make the result depend on the mean of the data.)
    """

    fixed = AFFINE

    def __init__(
        self, kernel_size=3, depthwise=True, axis=-1, epsilon=1e-5, **kwargs
    ):
        # First: it names the argument that it refuses.
        filters = GeneratedFilters(kernel_size, None if depthwise else 1)
        super().__init__(
            area=Window(kernel_size),
            recovery=filters,
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.kernel_size, self.depthwise = kernel_size, depthwise

    def build(self, inputs_shape, style_shape=None):
        """The dense maps."""
        if several(inputs_shape):
            inputs_shape, style_shape = self.split_pair(inputs_shape)
        map_networks.spatial_axes(inputs_shape)
        self.sizes = self.recovery.sizes(len(inputs_shape))
        super().build(inputs_shape, style_shape)

    def call(self, inputs, style=None, training=None, mask=None):
        """The style by position, keyword, or in a list."""
        return self.normalize(inputs, training, mask, style)

    def transform(self, x, training, mask, condition):
        """Window moments, then the filters on what each window holds."""
        if mask is not None:
            raise errors.received(
                "`mask` is not supported: the filters have a weight for each "
                "entry of the window.",
                "Leave the masked entries out, or end the mask before this "
                "layer.",
                mask_shape=tuple(mask.shape),
            )
        axis, last = self.axis % len(x.shape), len(x.shape) - 1
        x = ops.moveaxis(x, axis, last)
        spans = sample_convolution.spans_of(self.sizes)
        d, _, seen, none = self.area.grouped(x, last, spans, None)
        mean, variance = self.area.measure(
            seen, none, last, spans, self.operation
        )
        d = ops.squeeze(d, -1)
        rate = self.operation.rate(variance, self.epsilon)
        filters, offset = self.recovery.generate(self, condition, x.dtype)
        # What is outside of the image has a weight of 0. Differences are
        # formed before they are added up: a window far from the pivot would
        # cancel.
        inside = ops.ones_like(d[:1, ..., :1])
        pairs = zip(
            sample_convolution.shifted(d, spans),
            sample_convolution.shifted(inside, spans),
            strict=True,
        )
        slices = ((piece - mean) * (rate * seen) for piece, seen in pairs)
        y = sample_convolution.total(slices, filters)
        return ops.moveaxis(shifted_by(y, offset), last, axis)
