"""Attentive normalization: a mixture of affine maps by attention.

Li, Sun & Wu, 2020, https://arxiv.org/abs/1908.01259
"""

import keras

from keras_norm.core.attentive_recovery import AffineMixture
from keras_norm.core.named_areas import named_area
from keras_norm.core.named_areas import statistics_of
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class AttentiveNormalization(ComposedNormalization):
    """y = (a_n @ gamma) * (x - mean) / sqrt(variance + epsilon) + a_n @ beta.

    a_n = activation(norm(s_n @ attention_kernel)) are the weights of K affine
    maps, s_n = mean_n / sqrt(variance_n + 1e-3) the sample's moments over the
    positions, channel by channel, the variance unbiased.

    Area: batch, instance, layer or group. Operation: standardize. Recovery: a
    generated mixture of affine maps. Statistics: the batch in training and
    moving averages in inference, of the input (area "batch") and of the
    logits (attention_normalization "batch"); else the input itself.

    Args:
        num_mixtures: K, the rows of gamma and beta.
        area: "batch", "group", "instance" or "layer": what is normalized.
        groups: groups of channels of the area "group"; -1: one per channel.
        attention_activation: "hard_sigmoid", "sigmoid" or "softmax".
        attention_normalization: of the logits: "batch", "layer" (over the K
            logits of each sample), both with their own gamma and beta, or None
            for a bias.
        axis: channel axis.
        momentum: fraction kept of all moving averages.
        epsilon: added to the variances, inside the root.
        synchronized: add up all batch statistics of all replicas.
        unbiased_moving_variance: store variances divided by m - 1.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`. By default gamma starts from N(1,
            0.1^2), beta from N(0, 0.1^2).

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes; the logits of a sample have
            the largest of its weights.

    Raises:
        ValueError: unknown names; groups that do not divide the channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.AttentiveNormalization(num_mixtures=3)
    >>> x = np.random.rand(4, 8, 8, 6).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 6)

    Reference:

    - Li et al., Attentive Normalization, ECCV 2020,
      https://arxiv.org/abs/1908.01259

    Note: with one sample in a training batch the logits normalized over the
    batch are their beta: use "layer" or None there. The authors use 10 to 20
    mixtures, "batch" for batch and "layer" for group normalization.
    """

    def __init__(
        self,
        num_mixtures=5,
        area="batch",
        groups=32,
        attention_activation="hard_sigmoid",
        attention_normalization="batch",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        unbiased_moving_variance=False,
        **kwargs,
    ):
        for name, mean in (("gamma", 1.0), ("beta", 0.0)):
            normal = keras.initializers.RandomNormal(mean, 0.1)
            kwargs.setdefault(f"{name}_initializer", normal)
        super().__init__(
            area=named_area(area, groups, synchronized),
            statistics=statistics_of(area, momentum, unbiased_moving_variance),
            recovery=AffineMixture(
                num_mixtures,
                attention_activation,
                attention_normalization,
                momentum,
                unbiased_moving_variance,
                synchronized,
            ),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_mixtures, self.area_name = num_mixtures, area
        self.groups, self.momentum = groups, float(momentum)
        self.attention_activation = attention_activation
        self.attention_normalization = attention_normalization
        self.synchronized = synchronized
        self.unbiased_moving_variance = unbiased_moving_variance

    def get_config(self):
        """With the area as it was named."""
        return {**super().get_config(), "area": self.area_name}
