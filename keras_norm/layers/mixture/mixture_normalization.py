"""Mixture normalization: every point standardized by components of a mixture.

Kalayeh & Shah, 2020, https://arxiv.org/abs/1806.02892
"""

import keras
from keras import ops

from keras_norm.core import components
from keras_norm.core import gaussian_mixture as gm
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.mixture_average import MixtureAverage
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.state import read


@keras.saving.register_keras_serializable("keras_norm")
class MixtureNormalization(ComposedNormalization):
    """y = gamma sum_k p_k / sqrt(w_k) (x - mean_k) / sqrt(var_k + eps) + beta.

    Points are the channel vectors at all positions of all samples. p_k is how
    much a point belongs to component k of a Gaussian mixture with weights w
    and diagonal covariances; mean_k and var_k are those of the batch, each
    point weighted by its p_k. In training the mixture is fitted to the batch
    by a few steps from the one that is kept. p and w have no gradient.

    Area: components of a Gaussian mixture. Operation: standardize, mixture.
    Recovery: affine. Statistics: the batch in training, the moving averages of
    the fitted mixtures in inference.

    Args:
        num_components: number of components; 1 is batch normalization.
        em_steps: steps of expectation and maximization in each call.
        max_fit_samples: the first call starts from points that k-means++
            chooses out of at most so many.
        axis: channel axis.
        momentum: fraction kept of the mixture.
        epsilon: added to the variances, inside the roots.
        seed: of that choice: an integer, or None for one at random.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes. Of a point with masked
            channels the others decide where it belongs. What is masked comes
            out as a 0 would.

    Raises:
        ValueError: a number that is not positive; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.MixtureNormalization(num_components=3, seed=0)
    >>> x = np.random.rand(16, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (16, 8, 8, 3)

    Reference:

    - Kalayeh & Shah, Training Faster by Separating Modes of Variation in
      Batch-Normalized Models, IEEE TPAMI 2020,
      https://arxiv.org/abs/1806.02892

    Note: no program of the authors' is public. They fit anew to every batch; a
    start from the mixture that is kept needs fewer steps, and components stay
    the same from batch to batch, so that they can be averaged. No component
    weighs less than 1e-3 or has less than a hundredth of the batch's variance
    in the fit. The same seed draws other points on other backends.
    """

    lifts = False

    def __init__(
        self,
        num_components=3,
        em_steps=2,
        max_fit_samples=4096,
        axis=-1,
        momentum=0.99,
        epsilon=1e-3,
        seed=None,
        synchronized=False,
        **kwargs,
    ):
        positive("num_components", num_components)
        positive("em_steps", em_steps)
        positive("max_fit_samples", max_fit_samples)
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MixtureAverage(num_components, momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_components, self.em_steps = num_components, em_steps
        self.max_fit_samples, self.momentum = max_fit_samples, float(momentum)
        self.seed, self.synchronized = seed, synchronized
        self.seed_generator = keras.random.SeedGenerator(seed)

    def transform(self, x, training, mask, condition):
        """Points, what they belong to, and a mixture of affine maps."""
        path = self.of_batch if training else self.of_state
        return path(x, self.axis % len(x.shape), mask)

    def of_batch(self, x, axis, mask):
        """Training: by the mixture of this batch, which the state follows."""
        table = moments.measure(x, axis, mask, common=True)
        averages = self.area.over(table)
        data = ops.stop_gradient(table.data)
        if self.synchronized:
            # Relative to a value that all replicas share.
            data = data + table.view(averages.relative_pivot)
        weights = flattened(table.mask, axis)
        points = gm.Points(
            seen(flattened(data, axis), weights), weights, self.synchronized
        )
        base = averages.base[0]
        old = self.statistics.mixture(self, x.dtype)
        start = old._replace(mean=old.mean - base)
        mixture = gm.fitted(points, self.start(points, start), self.em_steps)
        shares = gm.shares(points, mixture)
        values = seen(flattened(x, axis), weights)
        found = self.measured(values, points, shares, averages.base)
        kept = mixture._replace(mean=base + mixture.mean)
        self.statistics.absorb(self, old, kept, averages.seen)
        y = self.mapped(values, shares, mixture.weight, *found)
        return restored(y, x, axis)

    def of_state(self, x, axis, mask):
        """Inference: by the mixture that is kept."""
        mixture = self.statistics.mixture(self, x.dtype)
        weight = ops.expand_dims(mixture.weight, -1)
        pivot = ops.sum(weight * mixture.mean, axis=0, keepdims=True)
        pivot = moments.settled(pivot / ops.sum(weight))
        weights = None
        if mask is not None:
            weights = moments.aligned(mask, x)
            shape = list(ops.shape(x))
            shape[axis] = weights.shape[axis]
            weights = flattened(ops.broadcast_to(weights, shape), axis)
        values = seen(flattened(x, axis), weights)
        points = gm.Points(seen(values - pivot, weights), weights)
        relative = mixture._replace(mean=mixture.mean - pivot)
        shares = gm.shares(points, relative)
        near, rest = mixture.mean, ops.zeros_like(mixture.mean)
        y = self.mapped(
            values, shares, mixture.weight, near, rest, mixture.variance
        )
        return restored(y, x, axis)

    def start(self, points, kept):
        """The mixture that is kept, or k-means++ where there is none."""
        uniform = keras.random.uniform(
            (self.num_components,), dtype="float32", seed=self.seed_generator
        )
        fresh = gm.seeded(
            points,
            self.num_components,
            self.max_fit_samples,
            ops.cast(uniform, kept.mean.dtype),
        )
        begun = read(self.initialized, kept.mean.dtype) > 0
        return gm.Mixture(
            *(ops.where(begun, a, b) for a, b in zip(kept, fresh, strict=True))
        )

    def measured(self, values, points, shares, base):
        """(near, mean - near, variance) of each component, with gradients."""
        weights = points.weights
        count, first, _ = points.sums(shares)
        n = ops.maximum(count, gm.LEAST_POINTS)
        # Components may lie far from each other: each is measured from a value
        # near its own mean.
        near = moments.settled(base, first / n)
        if weights is None:
            weights = ops.ones((1, 1), values.dtype)
        both = components.sums(values, shares, near, weights)
        both = points.total(both) / n
        variance = both[1] - ops.square(both[0])
        return near, both[0], ops.maximum(variance, 0.0)

    def mapped(self, values, shares, weight, near, rest, variance):
        """The points, standardized by each component, mixed and recovered."""
        one = ops.ones_like(near[:1])
        gamma, beta = self.recovery.fold(self, one, ops.zeros_like(one))
        rate = ops.rsqrt(variance + self.epsilon)
        rate = gamma * rate * ops.expand_dims(ops.rsqrt(weight), -1)
        return components.mapped(values, shares, near, rate, -rest * rate, beta)


def flattened(t, axis):
    """The channel vectors at all positions, (M, .); None stays None."""
    if t is None:
        return None
    return ops.reshape(ops.moveaxis(t, axis, -1), (-1, t.shape[axis]))


def seen(values, weights):
    """Points, 0 where they are masked."""
    if weights is None:
        return values
    return ops.where(weights > 0, values, 0.0)


def restored(y, like, axis):
    """Points in the shape of the data."""
    moved = ops.moveaxis(like, axis, -1)
    return ops.moveaxis(ops.reshape(y, ops.shape(moved)), -1, axis)
