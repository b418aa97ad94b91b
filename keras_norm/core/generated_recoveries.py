"""Recoveries that are made from the moments of the input itself.

They see the (N, C) table that was measured anyway: whatever they compute costs
nothing beside one pass over the data.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.moments import bessel
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.recoveries import Affine


class FromTable(Affine):
    """y = gamma_n * x + beta_n from the moments of the instances.

    Subclasses give gamma and beta, (N, C) or (1, C), by `generate`.
    """

    sees_table = True

    def build(self, layer, channels, condition_shape=None) -> None:
        """Refuse paths that have no table of centred moments."""
        families = layer.area.family, layer.operation.family
        path = families == ("table", "elementwise") and layer.operation.centred
        if not path:
            raise errors.received(
                f"{type(self).__name__} needs an area of whole instances and "
                "an elementwise operation that subtracts a mean.",
                area=layer.area,
                operation=layer.operation,
            )
        self.add_weights(layer, channels)

    def add_weights(self, layer, channels) -> None:
        """Create weights on the layer."""
        layer.add_affine((channels,))

    def generate(self, layer, table, training):
        """Gamma and beta; None for 1 and 0."""
        raise NotImplementedError

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by gamma, add beta."""
        gamma, beta = self.generate(layer, *condition)
        if gamma is not None:
            scale, offset = scale * gamma, offset * gamma
        return scale, offset if beta is None else offset + beta


def row(weight, dtype):
    """A weight (C,) beside a table, (1, C); None stays."""
    if weight is None:
        return None
    return ops.expand_dims(ops.cast(weight, dtype), 0)


def means_of(table):
    """Means of the instances as they are, (N, C)."""
    return table.pivot + table.mean


def entries_of(table):
    """How many entries, or which weight, an instance has."""
    return table.positions if table.count is None else table.count


@keras.saving.register_keras_serializable("keras_norm")
class EnhancedByMean(FromTable):
    """gamma_n = gamma * sigmoid(w * mean_n + b), beta as it is.

    mean_n is that of the input over the positions, channel by channel.
    """

    def add_weights(self, layer, channels) -> None:
        """Gamma, beta, w and b."""
        super().add_weights(layer, channels)
        for name, initial in (("weight", 0.0), ("bias", -1.0)):
            weight = layer.add_weight(
                shape=(channels,),
                name=f"enhancement_{name}",
                initializer=keras.initializers.Constant(initial),
                autocast=False,
            )
            setattr(layer, f"enhancement_{name}", weight)

    def generate(self, layer, table, training):
        """The gate times gamma."""
        means = means_of(table)
        w, b, gamma, beta = (
            row(weight, means.dtype)
            for weight in (
                layer.enhancement_weight,
                layer.enhancement_bias,
                layer.gamma,
                layer.beta,
            )
        )
        gate = ops.sigmoid(means * w + b)
        return gate if gamma is None else gate * gamma, beta


@keras.saving.register_keras_serializable("keras_norm")
class FromKeyGroups(FromTable):
    """gamma and beta from the moments of groups of channels, by a bottleneck.

    gamma_n = gamma + sigmoid(relu(variance_n E) G), beta_n = beta +
    tanh(relu(mean_n E) B): moments (N, K) of the K key groups of each sample,
    each result for all channels of its group.

    E has K // reduction columns, and 2 where there are fewer key groups. A
    layer without gamma or beta has none generated either.

    Args:
        key_group_size: channels of a key group.
        reduction: see above.
        unbiased: divide the variances by m - 1.
    """

    def __init__(self, key_group_size=16, reduction=16, unbiased=True):
        positive("key_group_size", key_group_size)
        positive("reduction", reduction)
        self.key_group_size = key_group_size
        self.reduction, self.unbiased = reduction, unbiased

    def add_weights(self, layer, channels) -> None:
        """Gamma, beta and the three kernels."""
        if channels % self.key_group_size:
            raise errors.received(
                "`key_group_size` must divide the number of channels.",
                key_group_size=self.key_group_size,
                channels=channels,
            )
        super().add_weights(layer, channels)
        groups = channels // self.key_group_size
        # As many groups as `reduction` are enough beside groups of channels,
        # too few elsewhere: the authors' programs have it so.
        grouped = layer.area.columns not in ("each", "all")
        enough = groups >= self.reduction + (not grouped)
        width = groups // self.reduction if enough else 2
        named = {
            "embedding": (groups, width),
            "gamma": layer.scale and (width, groups),
            "beta": layer.center and (width, groups),
        }
        for name, shape in named.items():
            if not shape:
                continue
            weight = layer.add_weight(
                shape=shape,
                name=f"{name}_kernel",
                initializer="glorot_uniform",
                autocast=False,
            )
            setattr(layer, f"{name}_kernel", weight)

    def generate(self, layer, table, training):
        """Both from the moments of the key groups."""
        groups = Area("each", layer.channels // self.key_group_size).over(table)
        mean, variance = mean_and_variance(table, groups)
        if self.unbiased:
            variance = bessel(variance, groups.entries)

        def through(moment, kernel):
            embedding = ops.cast(layer.embedding_kernel, mean.dtype)
            hidden = ops.relu(ops.matmul(moment, embedding))
            return ops.matmul(hidden, ops.cast(kernel, mean.dtype))

        gamma, beta = (row(w, mean.dtype) for w in (layer.gamma, layer.beta))
        if gamma is not None:
            change = ops.sigmoid(through(variance, layer.gamma_kernel))
            gamma = gamma + groups.spread(change)
        if beta is not None:
            means = groups.base + mean
            if table.count is not None:
                # Groups of which nothing is seen have the mean 0.
                means = ops.where(groups.weight > 0, means, 0.0)
            change = ops.tanh(through(means, layer.beta_kernel))
            beta = beta + groups.spread(change)
        return gamma, beta
