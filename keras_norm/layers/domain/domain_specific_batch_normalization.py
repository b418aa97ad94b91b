"""Domain-specific batch normalization: statistics and affine of each domain.

Chang, You, Seo, Kwak & Han, 2019, https://arxiv.org/abs/1906.03950
"""

import keras

from keras_norm.core.domain_layer import DomainNormalization


@keras.saving.register_keras_serializable("keras_norm")
class DomainSpecificBatchNormalization(DomainNormalization):
    """y = gamma_d * (x - mean_d) / sqrt(variance_d + epsilon) + beta_d.

    d is the domain of each sample. With weights w of the domains in place of
    one of them, each of gamma, beta, mean and variance is sum_d w_d (.)_d.

    Area: batch of a domain. Operation: standardize. Recovery: affine for each
    domain. Statistics: the batch in training, moving averages of each domain
    in inference.

    Domains are data sets, or whatever must not share statistics: tasks that a
    network serves by common convolutions (universal representations), clean
    and adversarial samples, real and generated batches of a GAN.

    Args:
        num_domains: number of domains; 1 is batch normalization.
        shared_affine: one gamma and beta for all domains.
        inference_domain: domain of calls in inference that name none; None:
            the last.
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
        domain: from 0 to num_domains - 1: one integer for all samples (a
            Python integer by name, domain=1), or integers (N,) or (N, 1); or
            weights (num_domains,) or (N, num_domains), floats, of which each
            counts by its share in the sum. Samples with another integer
            belong to no domain; they come out as 0, or as the shared beta.
        training: True uses and updates batch statistics; a domain that has no
            sample in the batch keeps its state.
        mask: weights aligned to the leading axes of the first input.

    Raises:
        ValueError: no domain in training; a domain of another kind; an axis
            outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DomainSpecificBatchNormalization(num_domains=2)
    >>> x = np.random.normal(size=(8, 4, 4, 3)).astype("float32")
    >>> mixed = layer(x, np.repeat([0, 1], 4), training=True)
    >>> real = layer(x, domain=0, training=True)
    >>> generated = layer(x, domain=1, training=True)
    >>> tuple(layer(x, domain=1).shape)
    (8, 4, 4, 3)

    Reference:

    - Chang et al., Domain-Specific Batch Normalization for Unsupervised Domain
      Adaptation, CVPR 2019, https://arxiv.org/abs/1906.03950
    - Bilen & Vedaldi, Universal Representations, 2017,
      https://arxiv.org/abs/1701.07275
    - Data et al., Interpolating Convolutional Neural Networks Using Batch
      Normalization, ECCV 2018

    Note: in the authors' program all samples of a batch have the domain of
    the first. Weights: gamma, beta, moving_mean, moving_variance, each
    (num_domains, C); gamma and beta (C,) where they are shared.
    """

    def __init__(
        self,
        num_domains=2,
        shared_affine=False,
        inference_domain=None,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        unbiased_moving_variance=False,
        **kwargs,
    ):
        super().__init__(
            num_domains=num_domains,
            shared_affine=shared_affine,
            inference_domain=inference_domain,
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            synchronized=synchronized,
            unbiased_moving_variance=unbiased_moving_variance,
            **kwargs,
        )
