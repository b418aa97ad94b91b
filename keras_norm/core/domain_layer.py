"""The base of layers that standardize every domain by its own statistics."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import domain_moments
from keras_norm.core import domains
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.recoveries import Affine
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class DomainAffine(Affine):
    """Gamma and beta for each domain, or the same for all.

    Args:
        num_domains: number of domains.
        shared: one gamma and beta for all.
    """

    def __init__(self, num_domains, shared=False):
        self.num_domains, self.shared = num_domains, shared

    def build(self, layer, channels, condition_shape=None) -> None:
        """Gamma and beta of shape (num_domains, channels) or (channels,)."""
        rows = () if self.shared else (self.num_domains,)
        layer.add_affine((*rows, channels))

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by gamma, add beta; `condition`: weights of the domains."""
        if self.shared:
            return super().fold(layer, scale, offset)

        def own(weight):
            return domains.mixed(condition, ops.cast(weight, scale.dtype))

        if layer.gamma is not None:
            gamma = own(layer.gamma)
            scale, offset = scale * gamma, offset * gamma
        if layer.beta is not None:
            offset = offset + own(layer.beta)
        return scale, offset


class DomainLayer(ComposedNormalization):
    """Base: a layer that is called with the domain of each sample.

    It has `num_domains` and `inference_domain`, the domain of calls in
    inference that name none; None: the last.
    """

    # Is a training batch without domains half source, half target?
    halves = False

    def build(self, inputs_shape, domain_shape=None):
        """A row of the state for every domain."""
        super().build(inputs_shape, domain_shape)
        # There may be one input or two.
        self.input_spec = None

    def call(self, inputs, domain=None, training=None, mask=None):
        """The domain is the second argument, or second in a list."""
        return self.normalize(inputs, training, mask, domain)

    def missing_condition(self):
        """The error of a training call without its domain."""
        return ValueError(
            f"{type(self).__name__} needs `domain` in training: integers (N,) "
            "or one for all samples. Received: domain=None. Call it as "
            "layer([x, domain]) or layer(x, domain)."
        )

    def chosen(self, domain, x, training):
        """The domains of a call, which training needs; see `domains.chosen`."""
        size = self.num_domains
        if domain is None and training and size > 1:
            if not self.halves:
                raise self.missing_condition()
            n = ops.shape(x)[0]
            index = ops.arange(n, dtype="int32")
            domain = ops.cast(index >= n // 2, "int32")
        elif domain is None:
            domain = self.inference_domain
            domain = size - 1 if domain is None else domain
        chosen = domains.chosen(domain, size, x.dtype)
        rows, n = chosen.weights.shape[0], x.shape[0]
        if None not in (rows, n) and rows not in (1, n):
            raise errors.received(
                "`domain` must have an entry for every sample.",
                samples=n,
                entries=rows,
            )
        return chosen


class DomainNormalization(DomainLayer):
    """Base: x standardized by the statistics of its domain, then the affine.

    Args:
        num_domains: number of domains.
        shared_affine: one gamma and beta for all domains.
        inference_domain: domain of calls in inference that name none; None:
            the last.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        unbiased_moving_variance: keep variances divided by m - 1.
        **kwargs: see `ComposedNormalization`.
    """

    lifts = False
    # Are the samples' own moments needed in inference?
    sees_samples = False

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
        positive("num_domains", num_domains)
        if inference_domain is not None:
            domains.check("inference_domain", inference_domain, num_domains)
        super().__init__(
            area=Area("gates", size=num_domains, synchronized=synchronized),
            statistics=MovingAverage(momentum, unbiased_moving_variance),
            recovery=DomainAffine(num_domains, shared_affine),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_domains, self.shared_affine = num_domains, shared_affine
        self.inference_domain = inference_domain
        self.momentum, self.synchronized = float(momentum), synchronized
        self.unbiased_moving_variance = unbiased_moving_variance

    def transform(self, x, training, mask, condition):
        """Statistics of the domains, then those of each sample."""
        chosen = self.chosen(condition, x, training)
        view, table = moments.viewer(len(x.shape), self.axis), None
        if training or self.sees_samples:
            table = self.table(x, mask, chosen)
        if training:
            rows = self.measured(table, chosen)
            self.statistics.follow(self, rows.mean, rows.variance, rows)
        else:
            rows = domain_moments.kept(*self.statistics.state(self, x.dtype))
        if table is None:
            if mask is not None:
                x = moments.without_padding(x, moments.aligned(mask, x))
            data = x - view(domain_moments.centre(rows, chosen))
            own = domain_moments.of_samples(rows, chosen)
        else:
            data = table.data
            own = domain_moments.of_samples(rows, chosen, table.pivot)
        scale, offset = self.standardized(own, table, chosen)
        # Who belongs to no domain has no statistics.
        member = domain_moments.member(chosen.weights)
        scale, offset = self.recovery.fold(
            self, scale * member, offset * member, chosen.weights
        )
        return elementwise.apply(
            data, view, *self.weighed(scale, offset, rows, training)
        )

    def table(self, x, mask, chosen):
        """The moments of the samples."""
        table = moments.measure(x, self.axis, mask)
        if not table.axes:
            table = domain_moments.of_vectors(table, x, chosen)
        return self.adjusted(table)

    def measured(self, table, chosen):
        """The statistics of the domains, as the state follows them."""
        rows = domain_moments.measured(table, chosen, self.synchronized)
        return self.combined(rows)

    # Steps that a layer may do otherwise.

    def adjusted(self, table):
        """The moments of the samples before those of the domains."""
        return table

    def combined(self, rows):
        """The statistics of the domains in training, of what was measured."""
        return rows

    def standardized(self, own, table, chosen):
        """(scale, offset) from the statistics of each sample's domain."""
        rate = ops.rsqrt(own.variance + self.acting_epsilon(own.variance.dtype))
        return rate, -own.shift * rate

    def weighed(self, scale, offset, rows, training):
        """(scale, offset) after the affine."""
        return scale, offset
