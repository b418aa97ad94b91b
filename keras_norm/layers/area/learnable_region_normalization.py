"""Region normalization with a region found in the input itself.

Yu, Guo, Jin, Wu, Chen, Li, Zhang & Liu, 2020, https://arxiv.org/abs/1911.10375
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import map_networks
from keras_norm.core import moments
from keras_norm.core import region_statistics
from keras_norm.core.layer import AFFINE
from keras_norm.core.map_networks import single
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.window_sums import per_axis


@keras.saving.register_keras_serializable("keras_norm")
class LearnableRegionNormalization(ComposedNormalization):
    """y = (1 + gamma(m)) * R(x, m >= threshold) + beta(m), m found in x.

    m = sigmoid(convolution of [mean, maximum] of x over its channels) is a map
    of one channel. Where it reaches the threshold is a region; R standardizes
    inside and outside of it by themselves, as `RegionNormalization`. gamma and
    beta are convolutions of m, one value for each position.

    Area: channels of a region, over the batch or in each sample. Operation:
    standardize. Recovery: generated for each position. Statistics: the input
    itself, in training and inference.

    Args:
        threshold: see above, in (0, 1).
        kernel_size: of the three convolutions, one number or one for each
            spatial axis.
        area: "batch": a region is that of all samples together, as in the
            authors' program. "instance": of each sample, as in the paper.
        axis: channel axis.
        epsilon: added to the variance of a region, divided by the region's
            share of all entries.
        synchronized: add up the statistics of all replicas ("batch").
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor with one to three spatial axes.
        mask: weights aligned to the leading axes; entries of weight 0 take no
            part, and convolutions take them for zeros, as those outside.

    Raises:
        ValueError: a threshold that is none; inputs without positions.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LearnableRegionNormalization(threshold=0.5)
    >>> tuple(layer(np.random.rand(2, 8, 8, 3).astype("float32")).shape)
    (2, 8, 8, 3)

    Reference:

    - Yu et al., Region Normalization for Image Inpainting, AAAI 2020,
      https://arxiv.org/abs/1911.10375

    Note: no gradient goes through the threshold, as in the program.
    """

    fixed = AFFINE

    def __init__(
        self,
        threshold=0.8,
        kernel_size=7,
        area="batch",
        axis=-1,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        several = isinstance(kernel_size, (list, tuple))
        per_axis("kernel_size", kernel_size, len(kernel_size) if several else 1)
        if not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
            raise errors.received(
                "`threshold` must lie between 0 and 1, as the map does.",
                threshold=threshold,
            )
        super().__init__(
            area=region_statistics.area_of(area, synchronized),
            statistics="batch",
            recovery="none",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.threshold, self.kernel_size = float(threshold), kernel_size
        self.area_name, self.synchronized = area, synchronized

    def build(self, inputs_shape):
        """The three convolutions."""
        count = map_networks.spatial_axes(inputs_shape)
        sizes = per_axis("kernel_size", self.kernel_size, count)
        super().build(inputs_shape)
        self.region_map = map_networks.convolution(
            self, "region", 2, 1, sizes, use_bias=False
        )
        self.gamma_map, self.beta_map = (
            map_networks.convolution(self, name, 1, 1, sizes)
            for name in ("gamma", "beta")
        )

    def transform(self, x, training, mask, condition):
        """The map, the regions, then scale and offset of each position."""
        axis = self.axis % len(x.shape)
        features, some = self.features(x, axis, mask)
        features = ops.moveaxis(features, axis, -1)
        m = ops.sigmoid(single(self.region_map, features))
        if some is not None:
            m = ops.where(ops.moveaxis(some, axis, -1), m, 0.0)
        gamma, beta = (
            ops.moveaxis(single(network, m), -1, axis)
            for network in (self.gamma_map, self.beta_map)
        )
        within = ops.moveaxis(ops.stop_gradient(m), -1, axis) >= self.threshold
        y = region_statistics.normalized(
            x, axis, within, self.area, self.epsilon, mask
        )
        return y * (1.0 + gamma) + beta

    def features(self, x, axis, mask):
        """Mean and maximum over the channels, and where there are any."""

        def both(mean, maximum):
            return ops.concatenate([mean, maximum], axis=axis)

        if mask is None:
            mean = ops.mean(x, axis=axis, keepdims=True)
            # PyTorch takes no maximum of an empty batch.
            largest = ops.max if x.shape[0] != 0 else ops.sum
            return both(mean, largest(x, axis=axis, keepdims=True)), None
        w = ops.broadcast_to(moments.aligned(mask, x), ops.shape(x))
        count = ops.sum(w, axis=axis, keepdims=True)
        some = count > 0
        held = ops.where(w > 0, x, 0.0)
        mean = ops.sum(w * held, axis=axis, keepdims=True)
        mean = mean / ops.maximum(count, moments.TINY)
        # Masked entries lie below all others.
        least = ops.min(held, axis=axis, keepdims=True)
        maximum = ops.max(ops.where(w > 0, x, least), axis=axis, keepdims=True)
        return both(mean, ops.where(some, maximum, 0.0)), some

    def get_config(self):
        """The area by its name."""
        return {**super().get_config(), "area": self.area_name}
