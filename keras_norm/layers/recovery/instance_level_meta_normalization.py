"""Instance-level meta normalization: gamma and beta from key groups.

Jia, D.-J. Chen & H.-T. Chen, 2019, https://arxiv.org/abs/1904.03516
"""

import keras

from keras_norm.core.generated_recoveries import FromKeyGroups
from keras_norm.core.named_areas import named_area
from keras_norm.core.named_areas import statistics_of
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize


@keras.saving.register_keras_serializable("keras_norm")
class InstanceLevelMetaNormalization(ComposedNormalization):
    """y = gamma_n * (x - mean) / sqrt(variance + epsilon) + beta_n.

    gamma_n = gamma + sigmoid(relu(v_n @ embedding_kernel) @ gamma_kernel) and
    beta_n = beta + tanh(relu(m_n @ embedding_kernel) @ beta_kernel), m_n and
    v_n the means and variances of the K key groups of a sample: consecutive
    channels at all positions. Each result serves the channels of its group.

    Area: group, instance, layer or batch. Operation: standardize. Recovery:
    affine and generated. Statistics: the input itself; of the batch its moving
    averages in inference.

    Args:
        area: "group", "instance", "layer" or "batch": what is normalized.
        groups: groups of channels of the area "group"; -1: one per channel.
        key_group_size: channels of a key group; must divide the channels.
        reduction: the embedding has K // reduction units; 2 where K is
            smaller (or equal, beside areas other than "group").
        unbiased: divide all variances by m - 1.
        axis: channel axis.
        momentum: fraction kept of the moving averages of "batch".
        epsilon: added to the variance, inside the root.
        synchronized: "batch": add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: "batch": True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: sizes that do not divide the channels; unknown areas.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.InstanceLevelMetaNormalization(
    ...     groups=2, key_group_size=4
    ... )
    >>> tuple(layer(np.random.rand(2, 8, 8, 16).astype("float32")).shape)
    (2, 8, 8, 16)

    Reference:

    - Jia et al., Instance-Level Meta Normalization, CVPR 2019,
      https://arxiv.org/abs/1904.03516

    Note: a gamma_kernel of zeros gives gamma + 1/2, not gamma, as in the
    authors' program.
    """

    def __init__(
        self,
        area="group",
        groups=32,
        key_group_size=16,
        reduction=16,
        unbiased=True,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=named_area(area, groups, synchronized),
            operation=Standardize(unbiased),
            statistics=statistics_of(area, momentum),
            recovery=FromKeyGroups(key_group_size, reduction, unbiased),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.area_name, self.groups = area, groups
        self.key_group_size = key_group_size
        self.reduction, self.unbiased = reduction, unbiased
        self.momentum, self.synchronized = float(momentum), synchronized

    def get_config(self):
        """With the area as it was named."""
        return {**super().get_config(), "area": self.area_name}
