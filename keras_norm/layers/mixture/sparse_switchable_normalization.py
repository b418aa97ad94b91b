"""Sparse switchable normalization: training leaves one normalizer.

Shao, Meng, Li, Zhang, Li, Wang & Luo, 2019, https://arxiv.org/abs/1903.03793
"""

import keras
from keras import ops

from keras_norm.core import area_mixture
from keras_norm.core import state
from keras_norm.core.distribution import replica_sum
from keras_norm.layers.mixture.switchable_normalization import (
    SwitchableNormalization,
)
from keras_norm.ops.sparsestmax import sparsestmax


@keras.saving.register_keras_serializable("keras_norm")
class SparseSwitchableNormalization(SwitchableNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mixed moments.

    mean = sum_k p_k mean_k with p = sparsestmax(mean_weight, radius), and the
    variance likewise of `variance_weight`, over the normalizers k. As the
    radius grows from 0, by `callbacks.SparsestmaxRadius`, ever more p_k are 0,
    until one is 1: the layer has chosen, for its means and for its variances.
    A choice made in training is kept: from then on its weights have no
    gradient.

    Area: mixture of instance, layer and batch, in the end one of them.
    Operation: standardize. Recovery: affine. Statistics: the batch's share from
    the batch in training and from moving averages in inference, the others
    from the input.

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
        training: True uses and updates batch statistics, and fixes choices.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: unknown or repeated normalizers; only "instance" for inputs
            (N, C); an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SparseSwitchableNormalization()
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> layer.build(x.shape)
    >>> _ = layer.radius.assign(0.5)
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 3)

    Reference:

    - Shao et al., SSN: Learning Sparse Switchable Normalization via
      SparsestMax, CVPR 2019, https://arxiv.org/abs/1903.03793

    Note: the paper's variances are biased, the authors' program's are not; the
    default follows the program. Its moving variance starts at 0, ours at 1.
    Equal weights, with which all layers begin, stay equal shares for every
    radius; the program divides by 0 there. Weights: gamma, beta, mean_weight,
    variance_weight, radius, mean_chosen, variance_chosen (zeros, or the choice
    as 1 among zeros), moving_mean, moving_variance.
    """

    def __init__(
        self,
        normalizers=area_mixture.NAMES,
        axis=-1,
        momentum=0.997,
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
        """As the base, and what decides between the areas."""
        self.add_state("radius", (), "zeros")
        for name in ("mean", "variance"):
            self.add_state(f"{name}_chosen", (len(self.mixed),), "zeros")
        super().build_state(channels)

    def shares(self, table, training):
        """What each area counts; training keeps what is one-hot."""
        # A batch without entries decides nothing.
        some = seen(table, self.synchronized) if training else None
        dtype = table.mean.dtype
        return [
            self.share(weight, chosen, some, dtype)
            for weight, chosen in (
                (self.mean_weight, self.mean_chosen),
                (self.variance_weight, self.variance_chosen),
            )
        ]

    def share(self, weight, variable, some, dtype):
        """The shares by one weight; `some`: may they become the choice?"""
        chosen = state.read(variable, dtype)
        decided = ops.any(chosen > 0)
        radius = ops.cast(self.radius, dtype)
        share = sparsestmax(ops.cast(weight, dtype), radius)
        if some is not None:
            now = ops.logical_and(some, ops.any(share >= 1.0))
            new = ops.where(now, ops.stop_gradient(share), chosen)
            new = ops.where(decided, chosen, new)
            variable.assign(ops.cast(new, variable.dtype))
        return ops.where(decided, chosen, share)


def seen(table, synchronized):
    """Are there entries in a table, or in that of any replica?"""
    if table.count is not None:
        entries = ops.sum(table.count)
    else:
        samples = ops.cast(ops.shape(table.mean)[0], table.mean.dtype)
        entries = samples * table.positions
    # All replicas decide alike.
    return (replica_sum(entries) if synchronized else entries) > 0
