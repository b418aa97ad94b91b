"""Dynamic instance normalization: a style's convolution after normalizing.

Jing, Liu, Ding, Wang, Ding, Song & Wen, 2020, https://arxiv.org/abs/1911.06953
"""

import keras
from keras import ops

from keras_norm.core import map_networks
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.generated_filters import GeneratedConvolution
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class DynamicInstanceNormalization(ComposedNormalization):
    """y = W(s) * ((x - mean) / sqrt(variance + epsilon)) + b(s).

    * is a convolution with filters W(s) and offsets b(s) of each sample, which
    dense maps generate from a style s. They start as the identity and 0, so
    that the layer starts as instance normalization. A style that is a map is
    averaged over its positions, after the hidden layer.

    Area: instance. Operation: standardize. Recovery: generated convolution.
    Statistics: the input itself.

    Args:
        kernel_size: of the filters, one number or one for each spatial axis.
        groups: groups of channels within which the filters mix channels; None:
            as many as channels, each convolved alone.
        hidden_units: put a Dense layer with ReLU before the maps.
        axis: channel axis of x, and of a style that is a map.
        epsilon: added to the variance, inside the root.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor with one to three spatial axes, or the list
            [inputs, style].
        style: features (N, D), or a map (N, h, w, D) of any size.
        mask: weights aligned to the leading axes of the first input; the
            convolution takes masked entries for zeros, as those outside.

    Raises:
        ValueError: no style; groups that do not divide the channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DynamicInstanceNormalization(kernel_size=3)
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> style = np.random.rand(2, 10).astype("float32")
    >>> tuple(layer(x, style).shape)
    (2, 8, 8, 3)

    Reference:

    - Jing et al., Dynamic Instance Normalization for Arbitrary Style Transfer,
      AAAI 2020, https://arxiv.org/abs/1911.06953

    Note: there is no public program. The paper's weight and bias nets end in
    an adaptive pooling; here in the mean and a dense map.
    """

    fixed = AFFINE

    def __init__(
        self,
        kernel_size=1,
        groups=None,
        hidden_units=None,
        axis=-1,
        epsilon=1e-5,
        **kwargs,
    ):
        super().__init__(
            area=Area("each", "each"),
            recovery=GeneratedConvolution(kernel_size, groups, hidden_units),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.kernel_size, self.groups = kernel_size, groups
        self.hidden_units = hidden_units

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
        """Normalized data, 0 where the convolution shall see nothing."""
        y = super().transform(x, training, mask, condition)
        if mask is None or self.recovery.pointwise(self):
            return y
        return ops.where(moments.aligned(mask, x) > 0, y, 0.0)
