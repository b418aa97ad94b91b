"""Region normalization: inside and outside of a region, each by itself.

Yu, Guo, Jin, Wu, Chen, Li, Zhang & Liu, 2020, https://arxiv.org/abs/1911.10375
"""

import keras

from keras_norm import errors
from keras_norm.core import map_networks
from keras_norm.core import region_statistics
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class RegionNormalization(ComposedNormalization):
    """y = (1 + gamma_r) (x - mean_r) / sqrt(variance_r + epsilon / s_r) + beta.

    r is the region of a position, inside or outside of a given one, with its
    own mean, variance and gamma; s_r is its share of all entries. beta is the
    sum of the betas of both regions, or beta_r where `masked_beta`. A region
    without entries takes no part.

    Area: channels of a region, over the batch or in each sample. Operation:
    standardize. Recovery: affine for each region. Statistics: the input itself,
    in training and inference.

    Args:
        area: "batch": a region is that of all samples together, as in the
            authors' program. "instance": of each sample, as in the paper.
        masked_beta: add to each region its own beta. False: add both betas
            everywhere, as the authors' program does.
        axis: channel axis.
        epsilon: see above.
        synchronized: add up the statistics of all replicas ("batch").
        gamma_initializer: initializer of gamma, which is added to 1.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`. Both parameters are (2, channels),
            inside first, and start at 0.

    Call arguments:
        inputs: tensor with one to three spatial axes, or the list
            [inputs, region].
        region: (N, h, w) or (N, h, w, 1) of any size, above 1/2 inside: holes
            to be filled, for example. It is resized to x by the nearest entry,
            floor(i * size / new size).
        mask: weights aligned to the leading axes of the first input; entries
            of weight 0 take no part in either region.

    Raises:
        ValueError: no region; inputs without positions.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.RegionNormalization()
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> hole = np.zeros((2, 32, 32))
    >>> hole[:, 8:24, 8:24] = 1.0
    >>> tuple(layer(x, hole).shape)
    (2, 8, 8, 3)

    Reference:

    - Yu et al., Region Normalization for Image Inpainting, AAAI 2020,
      https://arxiv.org/abs/1911.10375

    Note: regions are hard; no gradient goes to them.
    """

    def __init__(
        self,
        area="batch",
        masked_beta=False,
        axis=-1,
        epsilon=1e-5,
        synchronized=False,
        gamma_initializer="zeros",
        **kwargs,
    ):
        super().__init__(
            area=region_statistics.area_of(area, synchronized),
            statistics="batch",
            recovery=region_statistics.RegionAffine(masked_beta),
            axis=axis,
            epsilon=epsilon,
            gamma_initializer=gamma_initializer,
            **kwargs,
        )
        self.area_name, self.masked_beta = area, masked_beta
        self.synchronized = synchronized

    def build(self, inputs_shape, region_shape=None):
        """gamma and beta; the region has one channel, or no such axis."""
        if several(inputs_shape):
            inputs_shape, region_shape = self.split_pair(inputs_shape)
        map_networks.spatial_axes(inputs_shape)
        super().build(inputs_shape, region_shape)
        short = len(region_shape) == len(inputs_shape) - 1
        full = len(region_shape) == len(inputs_shape)
        if not short and not (full and region_shape[self.axis] == 1):
            raise errors.received(
                "`region` must have the axes of the input, with one channel "
                "or without that axis.",
                input_shape=inputs_shape,
                region_shape=region_shape,
            )

    def call(self, inputs, region=None, training=None, mask=None):
        """The region by position, keyword, or in a list."""
        return self.normalize(inputs, training, mask, region)

    def transform(self, x, training, mask, condition):
        """Both regions in one sweep."""
        within = region_statistics.inside(condition, x, self.axis)

        def recover(scale, offset):
            return self.recovery.fold(self, scale, offset)

        return region_statistics.normalized(
            x, self.axis, within, self.area, self.epsilon, mask, recover
        )

    def get_config(self):
        """The area by its name."""
        return {**super().get_config(), "area": self.area_name}
