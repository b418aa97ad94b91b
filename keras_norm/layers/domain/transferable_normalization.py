"""Transferable normalization: channels weighed by how alike domains are.

Wang, Jin, Long, Wang & Jordan, 2019
"""

import keras
from keras import ops

from keras_norm.core.domain_layer import DomainNormalization
from keras_norm.core.moments import bessel


@keras.saving.register_keras_serializable("keras_norm")
class TransferableNormalization(DomainNormalization):
    """y = (gamma * (x - mean_d) / sqrt(variance_d + epsilon) + beta) (1 + a).

    d is the domain of each sample, source s or target t, and

        a_c = C p_c / sum p,    p_c = 1 / (1 + |r_s - r_t|),
        r_d = mean_d / sqrt(variance_d + epsilon)

    for the channel c of C, without gradient: channels whose statistics are
    alike in both domains count more.

    Area: batch of a domain. Operation: standardize. Recovery: affine, the same
    for both domains, weighted by transferability. Statistics: the batch in
    training, moving averages of each domain in inference.

    Args:
        inference_domain: domain of calls in inference that name none: 0, the
            source, or 1, the target.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        unbiased_moving_variance: keep variances divided by m - 1, as the
            authors' program does.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, domain].
        domain: 0 or 1, as of `DomainSpecificBatchNormalization`. None in
            training: the first half of the batch is the source, the rest the
            target (of what a replica has of the batch).
        training: True uses and updates batch statistics; a domain that has no
            sample in the batch keeps its state, and all channels count alike.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: a domain of another kind; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.TransferableNormalization()
    >>> x = np.random.normal(size=(8, 4, 4, 3)).astype("float32")
    >>> source_and_target = layer(x, training=True)
    >>> tuple(layer(x, domain=1).shape)
    (8, 4, 4, 3)

    Reference:

    - Wang et al., Transferable Normalization: Towards Improving Transferability
      of Deep Neural Networks, NeurIPS 2019

    Note: in training the variances of r are divided by m - 1, as in the
    authors' program; in inference they are those of the state. Weights: gamma,
    beta (C,), moving_mean, moving_variance (2, C).
    """

    fixed = ("num_domains", "shared_affine")
    halves = True

    def __init__(
        self,
        inference_domain=1,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        unbiased_moving_variance=False,
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
            unbiased_moving_variance=unbiased_moving_variance,
            **kwargs,
        )

    def weighed(self, scale, offset, rows, training):
        """Channels by their transferability."""
        variance = rows.variance
        if training:
            variance = bessel(variance, rows.entries)
        rate = ops.rsqrt(variance + self.acting_epsilon(rows.dtype))
        # Not a difference of ratios, which far from zero are large.
        apart = (rows.near[:1] - rows.near[1:]) + (
            rows.mean[:1] - rows.mean[1:]
        )
        target = rows.near[1:] + rows.mean[1:]
        distance = apart * rate[:1] + target * (rate[:1] - rate[1:])
        both = rows.present[:1] * rows.present[1:]
        alike = 1.0 / (1.0 + both * ops.abs(distance))
        alpha = alike / ops.mean(alike, axis=-1, keepdims=True)
        factor = ops.stop_gradient(1.0 + alpha)
        return scale * factor, offset * factor
