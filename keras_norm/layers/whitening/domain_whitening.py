"""Domain-specific whitening: every domain whitened by its own statistics.

Roy, Siarohin, Sangineto, Rota Bulo, Sebe & Ricci, 2019,
https://arxiv.org/abs/1903.03215
"""

import keras
from keras import ops

from keras_norm.core import covariances
from keras_norm.core import domains
from keras_norm.core import instance_covariances
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.domain_layer import DomainLayer
from keras_norm.core.layer import positive
from keras_norm.core.matrix_operations import named
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class DomainWhitening(DomainLayer):
    """y = W_d (x - mean_d), W_d = L^(-1), of the domain d of each sample.

    L L^T = (1 - epsilon) covariance_d + epsilon I, for consecutive groups of
    channels. With weights w of the domains in place of one of them the matrix
    is sum_d w_d W_d and the mean sum_d w_d mean_d.

    Area: batch of a domain. Operation: whiten (matrix). Recovery: affine, off
    by default, the same for all domains. Statistics: the batch in training,
    moving averages of each domain in inference.

    Args:
        num_domains: number of domains.
        group_size: channels whitened together; where it does not divide the
            channels the last group is smaller. 1 is domain-specific batch
            normalization.
        whitening: "cholesky", "zca" or "iterative" (Newton steps).
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: share of the identity in the covariance.
        synchronized: add up the statistics of all replicas.
        center: add `beta`.
        scale: multiply by `gamma`.
        iterations: Newton steps of "iterative".
        inference_domain: domain of calls in inference that name none; None:
            the last.
        **kwargs: `beta_...`, `gamma_...`, `name`, `dtype`: see
            `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [inputs, domain].
        domain: from 0 to num_domains - 1: one integer for all samples (a
            Python integer by name, domain=1), or integers (N,) or (N, 1); or
            weights (num_domains,) or (N, num_domains), floats, of which each
            counts by its share in the sum. Samples with another integer
            belong to no domain; they come out as beta.
        training: True uses and updates batch statistics; a domain that has no
            sample in the batch keeps its state.
        mask: weights aligned to the leading axes of the first input, the same
            for all channels.

    Raises:
        ValueError: no domain in training; a domain of another kind; an unknown
            `whitening`; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DomainWhitening(num_domains=2)
    >>> x = np.random.normal(size=(32, 4, 4, 8)).astype("float32")
    >>> source_and_target = layer(x, np.repeat([0, 1], 16), training=True)
    >>> tuple(layer(x, domain=1).shape)
    (32, 4, 4, 8)

    Reference:

    - Roy et al., Unsupervised Domain Adaptation Using Feature-Whitening and
      Consensus Loss, CVPR 2019, https://arxiv.org/abs/1903.03215

    Note: the moving covariance starts at I; in the authors' program, by
    accident, at a matrix of ones. It is kept as measured; `whitening_matrix`
    is what belongs to it. The program solves with L, we multiply by L^(-1).
    """

    def __init__(
        self,
        num_domains=2,
        group_size=4,
        whitening="cholesky",
        axis=-1,
        momentum=0.9,
        epsilon=1e-3,
        synchronized=False,
        center=False,
        scale=False,
        iterations=5,
        inference_domain=None,
        **kwargs,
    ):
        positive("num_domains", num_domains)
        if inference_domain is not None:
            domains.check("inference_domain", inference_domain, num_domains)
        super().__init__(
            area=Area("gates", size=num_domains, synchronized=synchronized),
            operation=named(
                whitening,
                ("cholesky", "zca", "iterative"),
                group_size,
                iterations,
                running="covariance",
                shrink=True,
            ),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            center=center,
            scale=scale,
            **kwargs,
        )
        self.num_domains, self.group_size = num_domains, group_size
        self.whitening, self.iterations = whitening, iterations
        self.momentum, self.synchronized = float(momentum), synchronized
        self.inference_domain = inference_domain

    def transform(self, x, training, mask, condition):
        """Matrices of the domains, then one of each sample or one of all."""
        measures = self.measures(training)
        chosen = self.chosen(condition, x, measures)
        axis = self.axis % len(x.shape)
        if measures:
            measure = self.of_batch if chosen.alike else self.of_domains
            data, matrix, rest = measure(x, axis, mask, chosen.weights)
            return self.operation.apply(self, data, matrix, axis, None, rest)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        means, matrices = self.operation.stored(self, x.dtype)
        mean = moments.settled(domains.mixed(chosen.weights, means))
        rest = None
        if not chosen.labels:
            rest = domains.deviation(chosen.weights, mean, means)
        data = x - moments.viewer(len(x.shape), axis)(mean)
        data = ops.moveaxis(data, axis, -1)
        matrix = domains.mixed(chosen.weights, matrices)
        matrix = matrix[0] if chosen.alike else matrix
        return self.operation.apply(self, data, matrix, axis, None, rest)

    def of_batch(self, x, axis, mask, gates):
        """All samples alike: (centred data, matrix, nothing to add)."""
        table = moments.measure(x, axis, mask)
        batch = Area(synchronized=self.synchronized).over(table)
        mean, data, weights = covariances.centred(table, batch, axis)
        groups = self.operation.groups(self.channels)
        covariance = covariances.measure(data, weights, batch, groups)
        matrix = self.operation.matrix_of(self, covariance)
        # Every domain that the samples belong to follows them.
        every = ops.zeros((self.num_domains, 1), x.dtype)
        gates = ops.broadcast_to(gates, (batch.n, self.num_domains))
        averages = self.area.over(table, gates)
        covariance = covariance + every[..., None, None]
        self.operation.follow(self, mean + every, covariance, matrix, averages)
        return data, matrix, None

    def of_domains(self, x, axis, mask, gates):
        """Each sample its own: (data, matrices, what is to be added)."""
        table = moments.measure(x, axis, mask)
        groups = self.operation.groups(self.channels)
        data, within = instance_covariances.of_instances(table, axis, groups)
        averages = self.area.over(table, gates)
        # Domains may lie far from each other: each is measured from a value
        # near its own mean.
        mean = averages.mean(averages.relative_means)
        near = moments.settled(averages.base, mean)
        if table.axes:
            apart = table.pivot - ops.expand_dims(near, 1)
            apart = apart + table.mean
        else:
            x = x if mask is None else moments.without_padding(x, table.mask)
            apart = x - ops.expand_dims(near, 1)
        mean = instance_covariances.average(apart, averages)
        apart = apart - ops.expand_dims(mean, 1)
        covariance = instance_covariances.pooled(
            within, apart, averages, groups
        )
        matrix = self.operation.matrix_of(self, covariance)
        mean = near - averages.base + mean
        self.operation.follow(self, mean, covariance, matrix, averages)
        weights = ops.expand_dims(ops.transpose(gates), -1)
        rest = ops.sum(weights * apart, axis=0)
        return data, domains.mixed(gates, matrix), rest
