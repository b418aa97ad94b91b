"""Self-modulated batch normalization: gamma and beta from a GAN's latent.

Chen, Lucic, Houlsby & Gelly, 2019, https://arxiv.org/abs/1810.01365
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.feature_maps import FromLatent
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class SelfModulatedBatchNormalization(ComposedNormalization):
    """y = gamma(z) * (x - mean) / sqrt(variance + epsilon) + beta(z).

    h = relu(z @ hidden_kernel + hidden_bias), gamma(z) = h @ gamma_kernel +
    gamma_bias and beta(z) = h @ beta_kernel + beta_bias for the latent z from
    which a generator makes the sample. Kernels start from N(0, 0.02^2),
    gamma_bias from 1: nearly batch normalization.

    Area: batch. Operation: standardize. Recovery: generated. Statistics: the
    batch in training, moving averages in inference.

    Args:
        hidden_units: size of h; 0 or None: h = z.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...` (of beta_bias
            and gamma_bias), `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, condition].
        condition: latents (N, D), with the embedding of a class beside them
            where the generator has classes.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: no condition; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SelfModulatedBatchNormalization()
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> z = np.random.randn(4, 16).astype("float32")
    >>> tuple(layer(x, z).shape)
    (4, 8, 8, 3)

    Reference:

    - Chen et al., On Self Modulation for Generative Adversarial Networks, ICLR
      2019, https://arxiv.org/abs/1810.01365
    """

    def __init__(
        self,
        hidden_units=32,
        axis=-1,
        momentum=0.999,
        epsilon=1e-3,
        synchronized=False,
        **kwargs,
    ):
        normal = keras.initializers.RandomNormal(stddev=0.02)
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MovingAverage(momentum),
            recovery=FromLatent(hidden_units, normal),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.hidden_units = hidden_units
        self.momentum, self.synchronized = float(momentum), synchronized

    def call(self, inputs, condition=None, training=None, mask=None):
        """The condition is the second argument, or second in a list."""
        return self.normalize(inputs, training, mask, condition)
