"""Spatially adaptive normalization: gamma and beta from a map.

Park, Liu, Wang & Zhu, 2019, https://arxiv.org/abs/1903.07291
"""

import keras

from keras_norm import errors
from keras_norm.core import map_networks
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import several
from keras_norm.core.named_areas import named_area
from keras_norm.core.named_areas import statistics_of
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.spatial_recoveries import GeneratedMaps


@keras.saving.register_keras_serializable("keras_norm")
class SpatiallyAdaptiveNormalization(ComposedNormalization):
    """y = (1 + gamma(m)) * (x - mean) / sqrt(variance + epsilon) + beta(m).

    m is a map of conditions, such as one-hot labels of a segmentation. It is
    resized to the positions of x; gamma and beta are convolutions of
    h = relu(conv(m)), one value for each position and channel.

    Area: batch (or instance, layer, group). Operation: standardize. Recovery:
    generated for each position. Statistics: for the batch its own in training
    and moving averages in inference, else the input itself.

    Args:
        area: "batch", "instance", "layer" or "group".
        groups: of the area "group".
        hidden_filters: of the first convolution.
        kernel_size: of all three, one number or one for each spatial axis.
        interpolation: how m is resized: "nearest" (entry floor(i * size / new
            size)) or "bilinear".
        axis: channel axis of x and m.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the batch's statistics of all replicas.
        unbiased_moving_variance: store the variance divided by m - 1.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor with one to three spatial axes, or the list
            [inputs, condition].
        condition: the map m (N, h, w, L); h and w may be anything.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes of the first input; the
            convolutions see all of m.

    Raises:
        ValueError: no map; inputs without positions; unknown names.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SpatiallyAdaptiveNormalization(hidden_filters=16)
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> labels = np.eye(5, dtype="float32")[np.zeros((2, 32, 32), int)]
    >>> tuple(layer(x, labels).shape)
    (2, 8, 8, 3)

    Reference:

    - Park et al., Semantic Image Synthesis with Spatially-Adaptive
      Normalization, CVPR 2019, https://arxiv.org/abs/1903.07291

    Note: the paper scales by gamma(m), the authors' program by 1 + gamma(m);
    so do we. Its moving variance is unbiased.
    """

    fixed = AFFINE

    def __init__(
        self,
        area="batch",
        groups=32,
        hidden_filters=128,
        kernel_size=3,
        interpolation="nearest",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        unbiased_moving_variance=False,
        **kwargs,
    ):
        super().__init__(
            area=named_area(area, groups, synchronized),
            statistics=statistics_of(area, momentum, unbiased_moving_variance),
            recovery=GeneratedMaps(hidden_filters, kernel_size, interpolation),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.area_name, self.groups = area, groups
        self.hidden_filters, self.kernel_size = hidden_filters, kernel_size
        self.interpolation = interpolation
        self.momentum, self.synchronized = float(momentum), synchronized
        self.unbiased_moving_variance = unbiased_moving_variance

    def build(self, inputs_shape, condition_shape=None):
        """The convolutions, then the moving averages."""
        if several(inputs_shape):
            inputs_shape, condition_shape = self.split_pair(inputs_shape)
        map_networks.spatial_axes(inputs_shape)
        if condition_shape and len(condition_shape) != len(inputs_shape):
            raise errors.received(
                "`condition` must have the rank of the input.",
                input_shape=inputs_shape,
                condition_shape=condition_shape,
            )
        super().build(inputs_shape, condition_shape)

    def call(self, inputs, condition=None, training=None, mask=None):
        """The map by position, keyword, or in a list."""
        return self.normalize(inputs, training, mask, condition)

    def get_config(self):
        """The area by its name."""
        return {**super().get_config(), "area": self.area_name}
