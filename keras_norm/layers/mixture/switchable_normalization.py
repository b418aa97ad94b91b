"""Switchable normalization: a learned mixture of instance, layer and batch.

Luo, Ren, Peng, Zhang & Li, 2019, https://arxiv.org/abs/1806.10779
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.statistics import MovingAverage

AREAS = {
    "instance": ("each", "each"),
    "layer": ("each", "all"),
    "batch": ("all", "each"),
}


@keras.saving.register_keras_serializable("keras_norm")
class SwitchableNormalization(ComposedNormalization):
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
        ValueError: unknown or repeated normalizers; an axis outside the input.

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
    Weights: gamma, beta, mean_weight, variance_weight, moving_mean,
    moving_variance.
    """

    lifts = False

    def __init__(
        self,
        normalizers=("instance", "layer", "batch"),
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased=True,
        synchronized=False,
        **kwargs,
    ):
        names = tuple(normalizers)
        if not names or set(names) - set(AREAS) or len(set(names)) < len(names):
            raise errors.received(
                f"`normalizers` must be distinct names out of {list(AREAS)}.",
                normalizers=normalizers,
            )
        keeps = "batch" in names
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MovingAverage(momentum) if keeps else "batch",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.normalizers = names
        self.momentum, self.unbiased = float(momentum), unbiased
        self.synchronized = synchronized

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

    def build(self, inputs_shape):
        """Inputs (N, C) have no instances."""
        drop = ("instance",) if len(inputs_shape) == 2 else ()
        self.mixed = tuple(n for n in self.normalizers if n not in drop)
        if not self.mixed:
            raise errors.received(
                "`normalizers` must name more than 'instance' for inputs "
                "without positions.",
                normalizers=self.normalizers,
                input_shape=inputs_shape,
            )
        super().build(inputs_shape)

    def measures(self, training):
        """Instance and layer always need the input."""
        return True

    def factors(self, table, training, area=None):
        """Mix the moments of all areas, derived from the instances'."""
        flat = not table.axes
        if self.unbiased and not flat:
            entries = table.positions if table.count is None else table.count
            variance = moments.bessel(table.variance, entries)
            table = table._replace(variance=variance)
        shifts, variances = [], []
        for name in self.mixed:
            shift, variance = self.measured(name, table, training, flat)
            shifts.append(shift)
            variances.append(variance)

        def mixture(weight, parts):
            if len(parts) == 1:
                return parts[0]
            share = ops.softmax(ops.cast(weight, table.mean.dtype))
            return sum(share[k] * part for k, part in enumerate(parts))

        rate = mixture(self.variance_weight, variances) + self.epsilon
        rate = ops.rsqrt(rate)
        return rate, -mixture(self.mean_weight, shifts) * rate

    def measured(self, name, table, training, flat):
        """Mean relative to the pivot and variance of one area, on the table."""
        rows, columns = AREAS[name]
        batch = name == "batch"
        if batch and not training:
            mean, variance = self.statistics.state(self, table.mean.dtype)
            return mean - table.pivot, variance
        area = self.area if batch else Area(rows, columns)
        averages = area.over(table)
        mean, variance = mean_and_variance(table, averages)
        if self.unbiased and flat:
            variance = moments.bessel(variance, averages.entries)
        if batch:
            self.statistics.follow(self, mean, variance, averages)
        shift = averages.spread(mean) - averages.relative_pivot
        return shift, averages.spread(variance)
