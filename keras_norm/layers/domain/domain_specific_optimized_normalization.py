"""Domain-specific optimized normalization: batch and instance, per domain.

Seo, Suh, Kim, Kim, Han & Han, 2020, https://arxiv.org/abs/1907.04275
"""

import keras
from keras import ops

from keras_norm.core import area_mixture
from keras_norm.core import domains
from keras_norm.core.domain_layer import DomainNormalization
from keras_norm.core.layer import several
from keras_norm.core.moments import bessel


@keras.saving.register_keras_serializable("keras_norm")
class DomainSpecificOptimizedNormalization(DomainNormalization):
    """y = gamma_d * (x - mean) / sqrt(variance + epsilon) + beta_d, mixed.

    mean = v_d mean_instance + (1 - v_d) mean_d, variance = w_d
    variance_instance + (1 - w_d) variance_d for the domain d of each sample,
    with shares v_d, w_d that are learned: softmax of two weights each.

    Area: mixture of the instance and the batch of a domain. Operation:
    standardize. Recovery: affine for each domain. Statistics: the batch's
    share from the batch in training and from moving averages of the domain in
    inference, the instance's from the input.

    Args:
        num_domains: number of domains.
        channelwise: learn the shares for each channel.
        unbiased: divide the instance variances by m - 1 before combining them
            (for inputs (N, C), which have no instances, the domain's).
        inference_domain: domain of calls in inference that name none; None:
            the last.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the domains' statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, domain].
        domain: see `DomainSpecificBatchNormalization`.
        training: True uses and updates batch statistics; a domain that has no
            sample in the batch keeps its state.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: no domain in training; a domain of another kind; an axis
            outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DomainSpecificOptimizedNormalization(num_domains=3)
    >>> x = np.random.normal(size=(6, 4, 4, 3)).astype("float32")
    >>> y = layer(x, np.array([0, 1, 2, 0, 1, 2]), training=True)
    >>> tuple(layer(x, domain=1).shape)
    (6, 4, 4, 3)

    Reference:

    - Seo et al., Learning to Optimize Domain Specific Normalization for Domain
      Generalization, ECCV 2020, https://arxiv.org/abs/1907.04275

    Note: for samples of a domain that was not seen in training the article
    averages the outputs of the network over all domains:
    `keras_norm.tools.average_over_domains`. Weights: gamma, beta, mean_weight,
    variance_weight (num_domains, 2), instance before batch, or (num_domains,
    2, C), moving_mean, moving_variance.
    """

    fixed = ("shared_affine", "unbiased_moving_variance")
    sees_samples = True

    def __init__(
        self,
        num_domains=2,
        channelwise=False,
        unbiased=True,
        inference_domain=None,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            num_domains=num_domains,
            inference_domain=inference_domain,
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            synchronized=synchronized,
            **kwargs,
        )
        self.channelwise, self.unbiased = channelwise, unbiased

    def build(self, inputs_shape, domain_shape=None):
        """Inputs (N, C) have no instances."""
        pair = several(inputs_shape)
        self.flat = len(inputs_shape[0] if pair else inputs_shape) == 2
        super().build(inputs_shape, domain_shape)

    def build_state(self, channels):
        """The weights of the mixtures, then the moving averages."""
        shape = (self.num_domains, 1 if self.flat else 2)
        for name in ("mean_weight", "variance_weight"):
            weight = self.add_weight(
                shape=(*shape, channels) if self.channelwise else shape,
                name=name,
                initializer="ones",
                autocast=False,
            )
            setattr(self, name, weight)
        super().build_state(channels)

    def adjusted(self, table):
        """Variances of instances, which all others are combined of."""
        if not self.unbiased:
            return table
        return area_mixture.unbiased_instances(table)

    def combined(self, rows):
        """Without instances the variance of the domain is unbiased."""
        if not (self.unbiased and self.flat):
            return rows
        return rows._replace(variance=bessel(rows.variance, rows.entries))

    def shares(self, weight, chosen):
        """Of instance and batch, each what broadcasts to (N, C)."""
        shares = ops.softmax(ops.cast(weight, chosen.weights.dtype), axis=1)
        size = 2 * (self.channels if self.channelwise else 1)
        rows = ops.reshape(shares, (self.num_domains, size))
        return ops.split(domains.mixed(chosen.weights, rows), 2, axis=-1)

    def standardized(self, own, table, chosen):
        """By the mixture of the sample's and its domain's moments."""
        if self.flat:
            return super().standardized(own, table, chosen)
        instance = area_mixture.Moments(table.mean, table.variance)
        return area_mixture.of_statistics(
            [instance, own],
            self.shares(self.mean_weight, chosen),
            self.shares(self.variance_weight, chosen),
            self.acting_epsilon(own.variance.dtype),
        )
