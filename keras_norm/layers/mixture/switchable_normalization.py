"""Switchable normalization: a learned mixture of instance, layer and batch.

Luo, Ren, Peng, Zhang & Li, 2019, https://arxiv.org/abs/1806.10779
"""

import keras
from keras import ops

from keras_norm.core import area_mixture


@keras.saving.register_keras_serializable("keras_norm")
class SwitchableNormalization(area_mixture.AreaMixture):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mixed moments.

    mean = sum_k softmax(mean_weight)_k mean_k and variance = sum_k
    softmax(variance_weight)_k variance_k over the normalizers k. All their
    moments come from one pass over the data.

    Area: mixture of instance, layer and batch. Operation: standardize.
    Recovery: affine. Statistics: the batch's share from the batch in training
    and from moving averages in inference, the others from the input.

    Args:
        normalizers: what is mixed, in the order of the weights; inputs (N, C)
            leave out "instance".
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        unbiased: divide the instance variances by m - 1 before combining them
            (for inputs (N, C), each variance by its own m - 1).
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: unknown or repeated normalizers; only "instance" for inputs
            (N, C); an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SwitchableNormalization()
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 3)

    Reference:

    - Luo et al., Differentiable Learning-to-Normalize via Switchable
      Normalization, ICLR 2019, https://arxiv.org/abs/1806.10779

    Note: the paper's variances are biased, the authors' program's are not; the
    default follows the program. Its moving variance starts at 0, ours at 1.
    The paper infers by the average over many batches rather than by moving
    averages: `tools.recompute_statistics` after training.
    Weights: gamma, beta, mean_weight, variance_weight, moving_mean,
    moving_variance.
    """

    def __init__(
        self,
        normalizers=area_mixture.NAMES,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased=True,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            normalizers,
            axis,
            momentum,
            epsilon,
            unbiased,
            synchronized,
            **kwargs,
        )

    def build_state(self, channels):
        """The weights of the mixture, then the moving averages."""
        for name in ("mean_weight", "variance_weight"):
            weight = self.add_weight(
                shape=(len(self.mixed),),
                name=name,
                initializer="ones",
                autocast=False,
            )
            setattr(self, name, weight)
        super().build_state(channels)

    def shares(self, table, training):
        """What each area counts in the means and in the variances."""
        if len(self.mixed) == 1:
            return None, None
        return [
            ops.softmax(ops.cast(weight, table.mean.dtype))
            for weight in (self.mean_weight, self.variance_weight)
        ]

    def factors(self, table, training, area=None):
        """Mix the moments of all areas."""
        of_means, of_variances = self.shares(table, training)
        return area_mixture.of_statistics(
            self.parts(table, training), of_means, of_variances, self.epsilon
        )
