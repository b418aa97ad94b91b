"""Switchable whitening: a learned mixture of whitening and standardization.

Pan, Zhan, Shi, Tang & Luo, 2019, https://arxiv.org/abs/1904.09739
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import instance_covariances
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.matrix_operations import named
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import move
from keras_norm.core.whitening import StackedIdentity
from keras_norm.core.whitening import fills
from keras_norm.ops.matrix_roots import identity

BATCH = ("batch_whitening", "batch")
INSTANCE = ("instance_whitening", "instance")
NORMALIZERS = (*BATCH, *INSTANCE, "layer")
LAYER = Area("each", "all")


@keras.saving.register_keras_serializable("keras_norm")
class SwitchableWhitening(ComposedNormalization):
    """y = gamma * W (x - mean) + beta, W ~ (S + epsilon I)^(-1/2), mixed S.

    mean = sum_k softmax(mean_weight)_k mean_k and S = sum_k
    softmax(covariance_weight)_k S_k, for consecutive groups of channels and
    the normalizers k:

    | normalizer | mean_k | S_k |
    |---|---|---|
    | batch_whitening | of the batch | its covariance |
    | instance_whitening | of the sample | its covariance |
    | batch | of the batch | diagonal of its covariance |
    | instance | of the sample | diagonal of its covariance |
    | layer | of the sample over all channels | its variance times I |

    All of them come from one product over the data.

    Area: mixture of batch, instance and layer. Operation: whiten (matrix).
    Recovery: affine. Statistics: the batch's share from the batch in training
    and from moving averages in inference, the others from the input.

    Args:
        normalizers: what is mixed, in the order of the weights. The paper's
            further choices are these two and "layer", and all five: these,
            "batch", "instance", "layer".
        group_size: channels whitened together; where it does not divide the
            channels the last group is smaller.
        whitening: "iterative" (W by Newton steps) or "zca" (the root itself).
        iterations: Newton steps; 5 whitens in part (the authors' choice),
            about 20 completely.
        tie_weights: the weights of the means serve the covariances too.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the diagonal of the mixed covariance.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes, the same for all channels.

    Raises:
        ValueError: unknown or repeated normalizers; normalizers of instances
            for inputs (N, C), which have none; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SwitchableWhitening(group_size=8)
    >>> x = np.random.normal(size=(4, 8, 8, 16)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 16)

    Reference:

    - Pan et al., Switchable Whitening for Deep Representation Learning, ICCV
      2019, https://arxiv.org/abs/1904.09739

    Note: the authors' program mixes the diagonals of five normalizers with the
    first two weights instead of the third and fourth; we follow the paper. As
    there, "layer" divides its variance by m - 1 and the others by m. The
    moving covariance starts at 0 there, at I here, and has no epsilon in it. A
    matrix is made for every sample, in inference too: "zca" puts a
    decomposition into the exported graph, which a SavedModel made by JAX and
    ONNX do not run; "iterative" is matrix products only. Weights: gamma, beta,
    mean_weight, covariance_weight, moving_mean, moving_covariance.
    """

    def __init__(
        self,
        normalizers=("batch_whitening", "instance_whitening"),
        group_size=16,
        whitening="iterative",
        iterations=5,
        tie_weights=False,
        axis=-1,
        momentum=0.99,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        names = tuple(normalizers)
        wrong = set(names) - set(NORMALIZERS)
        if not names or wrong or len(set(names)) < len(names):
            raise errors.received(
                "`normalizers` must be distinct names out of "
                f"{list(NORMALIZERS)}.",
                normalizers=normalizers,
            )
        keeps = any(n in BATCH for n in names)
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=named(
                whitening, ("iterative", "zca"), group_size, iterations
            ),
            statistics=MovingAverage(momentum) if keeps else "batch",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.normalizers, self.group_size = names, group_size
        self.whitening, self.iterations = whitening, iterations
        self.tie_weights, self.momentum = tie_weights, float(momentum)
        self.synchronized, self.keeps = synchronized, keeps

    def build(self, inputs_shape):
        """Inputs (N, C) have no instances."""
        instances = [n for n in self.normalizers if n in INSTANCE]
        if len(inputs_shape) == 2 and instances:
            raise errors.received(
                f"`normalizers` must not name {instances[0]!r} for inputs "
                "without positions.",
                "Leave it out.",
                normalizers=self.normalizers,
                input_shape=inputs_shape,
            )
        super().build(inputs_shape)

    def build_state(self, channels):
        """The weights of the mixture, then the moving averages."""
        names = ("mean_weight", "covariance_weight")
        for name in names[:1] if self.tie_weights else names:
            weight = self.add_weight(
                shape=(len(self.normalizers),),
                name=name,
                initializer="ones",
                autocast=False,
            )
            setattr(self, name, weight)
        if self.keeps:
            shape = self.operation.groups(channels).shape
            self.add_state("moving_mean", (channels,), "zeros")
            self.add_state("moving_covariance", shape, StackedIdentity())

    def transform(self, x, training, mask, condition):
        """The covariances of the instances, from which all others come."""
        axis = self.axis % len(x.shape)
        groups = self.operation.groups(self.channels)
        table = moments.measure(x, axis, mask)
        data, within = instance_covariances.of_instances(table, axis, groups)
        parts = self.parts(table, within, groups, training)
        shift = self.mixture(self.mean_weight, [p[0] for p in parts])
        weight = (
            self.mean_weight if self.tie_weights else self.covariance_weight
        )
        covariance = self.mixture(weight, [p[1] for p in parts])
        if all(n in BATCH for n in self.normalizers):
            covariance = covariance[0]
        matrix = self.operation.matrix_of(self, covariance)
        rest = table.mean - shift
        return self.operation.apply(self, data, matrix, axis, None, rest)

    def mixture(self, weight, parts):
        """Sum of the parts by the softmax of their weights."""
        if len(parts) == 1:
            return parts[0]
        share = ops.softmax(ops.cast(weight, parts[0].dtype))
        return sum(share[k] * part for k, part in enumerate(parts))

    def parts(self, table, within, groups, training):
        """(mean relative to the pivot, covariances) of each normalizer."""
        eye = identity(groups.width, table.mean.dtype)
        found = {}
        if self.keeps:
            found["batch"] = self.of_batch(table, within, groups, training)
        if "layer" in self.normalizers:
            averages = LAYER.over(table)
            mean, variance = mean_and_variance(table, averages)
            variance = moments.bessel(variance, averages.entries)
            shift = averages.spread(mean) - averages.relative_pivot
            found["layer"] = shift, ops.reshape(variance, (-1, 1, 1, 1)) * eye
        if within is not None:
            found["instance"] = table.mean, within
        for name in ("batch", "instance"):
            if name in found:
                shift, covariance = found[name]
                found[f"{name}_whitening"] = shift, covariance
                found[name] = shift, covariance * eye
        return [found[name] for name in self.normalizers]

    def of_batch(self, table, within, groups, training):
        """The batch's part; training moves the state towards it."""
        dtype = table.mean.dtype
        if not training:
            mean = ops.cast(self.moving_mean, dtype) - table.pivot
            return mean, ops.cast(self.moving_covariance, dtype)[None]
        averages = self.area.over(table)
        relative = averages.relative_means
        mean = averages.mean(relative)
        covariance = instance_covariances.pooled(
            within, (relative - mean)[None], averages, groups
        )
        seen, keep = averages.seen, self.statistics.momentum
        move(self.moving_mean, averages.base + mean, seen, keep)
        seen = seen if seen is True else seen[:, :1]
        real, filler = fills(groups, dtype)
        kept = covariance * real + filler
        move(self.moving_covariance, kept, seen, keep)
        shift = averages.spread(mean) - averages.relative_pivot
        return shift, covariance
