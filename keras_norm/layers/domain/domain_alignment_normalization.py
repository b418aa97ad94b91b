"""AutoDIAL: statistics of two domains, mixed by a learned share.

Carlucci, Porzi, Caputo, Ricci & Rota Bulo, 2017,
https://arxiv.org/abs/1704.08082
"""

import keras
from keras import ops

from keras_norm.core.domain_layer import DomainNormalization
from keras_norm.core.moments import TINY


@keras.saving.register_keras_serializable("keras_norm")
class Majority(keras.constraints.Constraint):
    """Values within [0.5, 1]."""

    def __call__(self, w):
        """The nearest value."""
        return ops.clip(w, 0.5, 1.0)


@keras.saving.register_keras_serializable("keras_norm")
class DomainAlignmentNormalization(DomainNormalization):
    """y = (x - mean_st) / sqrt(variance_st + epsilon), source s, target t.

    mean_st = alpha mean_s + (1 - alpha) mean_t and variance_st =
    alpha E_s[(x - mean_st)^2] + (1 - alpha) E_t[(x - mean_st)^2] for samples of
    the source; for those of the target s and t change places. alpha is
    learned in [0.5, 1]: at 1 the domains are normalized apart, at 0.5 alike.

    Area: batches of two domains, mixed. Operation: standardize. Recovery:
    none by default, the same affine for both domains otherwise. Statistics:
    the batch in training, moving averages of both mixtures in inference.

    Args:
        inference_domain: domain of calls in inference that name none: 0, the
            source, or 1, the target.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        alpha_initializer: initializer of `alpha`.
        synchronized: add up the statistics of all replicas.
        center: add `beta`.
        scale: multiply by `gamma`.
        **kwargs: `unbiased_moving_variance`, `beta_...`, `gamma_...`, `name`,
            `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, domain].
        domain: 0 or 1, as of `DomainSpecificBatchNormalization`. None in
            training: the first half of the batch is the source, the rest the
            target (of what a replica has of the batch).
        training: True uses and updates batch statistics. A domain that has no
            sample in the batch keeps its state, and the other is normalized by
            itself alone.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: a domain of another kind; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DomainAlignmentNormalization()
    >>> x = np.random.normal(size=(8, 4, 4, 3)).astype("float32")
    >>> source_and_target = layer(x, training=True)
    >>> tuple(layer(x, domain=0).shape)
    (8, 4, 4, 3)

    Reference:

    - Carlucci et al., AutoDIAL: Automatic DomaIn Alignment Layers, ICCV 2017,
      https://arxiv.org/abs/1704.08082

    Note: the method adds the entropy of the predictions for the target to the
    loss. The authors' program divides the moving averages by the sum of their
    weights, so that they forget where they began, and multiplies variances by
    m / (m - 1), m being the entries of both domains, as
    `unbiased_moving_variance=True` does here. Weights: alpha (), moving_mean,
    moving_variance (2, C).
    """

    fixed = ("num_domains", "shared_affine")
    halves = True

    def __init__(
        self,
        inference_domain=1,
        axis=-1,
        momentum=0.999,
        epsilon=1e-5,
        alpha_initializer="ones",
        synchronized=False,
        center=False,
        scale=False,
        **kwargs,
    ):
        super().__init__(
            num_domains=2,
            shared_affine=True,
            inference_domain=inference_domain,
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            synchronized=synchronized,
            center=center,
            scale=scale,
            **kwargs,
        )
        self.alpha_initializer = keras.initializers.get(alpha_initializer)

    def build_state(self, channels):
        """The share, then the moving averages."""
        self.alpha = self.add_weight(
            shape=(),
            name="alpha",
            initializer=self.alpha_initializer,
            constraint=Majority(),
            autocast=False,
        )
        super().build_state(channels)

    def combined(self, rows):
        """Each domain's statistics with a share of the other's."""
        alpha = ops.cast(self.alpha, rows.dtype)
        # A domain that is absent has no share.
        own = alpha * rows.present
        other = (1.0 - alpha) * swapped(rows.present)
        total = ops.maximum(own + other, TINY)
        own, other = own / total, other / total
        theirs = swapped(rows.near) - rows.near + swapped(rows.mean)
        mean = own * rows.mean + other * theirs
        variance = own * (rows.variance + ops.square(rows.mean - mean))
        variance = variance + other * (
            swapped(rows.variance) + ops.square(theirs - mean)
        )
        entries = rows.entries + swapped(rows.entries)
        return rows._replace(mean=mean, variance=variance, entries=entries)


def swapped(rows):
    """Source and target in each other's place."""
    return ops.concatenate([rows[1:], rows[:1]], axis=0)
