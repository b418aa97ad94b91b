"""Filters of each sample, generated from a style."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import map_networks
from keras_norm.core import sample_convolution
from keras_norm.core.layer import positive
from keras_norm.core.map_networks import applied
from keras_norm.core.recoveries import Nothing
from keras_norm.core.window_sums import per_axis


@keras.saving.register_keras_serializable("keras_norm")
class GeneratedFilters(Nothing):
    """Filters and offsets from a style; what is done with them, layers say.

    A style that is a map is averaged over its positions, after the hidden
    layer if there is one. At the start the filters are the identity and the
    offsets 0, whatever the style.

    Args:
        kernel_size: of the filters, one number or one for each spatial axis.
        groups: of channels, within which filters mix channels; None for as
            many as channels: they mix none.
        hidden_units: put a Dense layer with ReLU before both maps.
    """

    condition = "a style, features (N, D) or a map (N, h, w, D)"

    def __init__(self, kernel_size=1, groups=None, hidden_units=None):
        several = isinstance(kernel_size, (list, tuple))
        per_axis("kernel_size", kernel_size, len(kernel_size) if several else 1)
        for name, value in (("groups", groups), ("hidden_units", hidden_units)):
            if value is not None:
                positive(name, value)
        self.kernel_size, self.groups = kernel_size, groups
        self.hidden_units = hidden_units

    def sizes(self, rank):
        """Of the filters along the axes of inputs of that rank."""
        return per_axis("kernel_size", self.kernel_size, rank - 2)

    def width(self, channels):
        """Channels that an output channel sees."""
        groups = self.groups or channels
        if groups > channels:
            raise errors.more_groups_than_channels(groups, channels)
        if channels % groups:
            raise errors.groups_must_divide(groups, channels)
        return channels // groups

    def build(self, layer, channels, condition_shape=None) -> None:
        """The hidden layer, the map to filters, the map to offsets."""
        width = self.width(channels)
        axis = -1 if len(condition_shape) == 2 else layer.axis
        features = map_networks.channels_of_map("style", condition_shape, axis)
        wide = "float64" if layer.compute_dtype == "float64" else "float32"
        layer.hidden = None
        if self.hidden_units:
            layer.hidden = keras.layers.Dense(
                self.hidden_units, "relu", dtype=wide, name="hidden"
            )
            layer.hidden.build((None, features))
            features = self.hidden_units
        first = sample_convolution.identity(layer.sizes, width, channels)
        layer.filter_map, layer.offset_map = (
            keras.layers.Dense(
                units,
                kernel_initializer="zeros",
                bias_initializer=initializer,
                dtype=wide,
                name=name,
            )
            for name, units, initializer in (
                ("filter", first.size, Values(first.reshape(-1))),
                ("offset", channels, "zeros"),
            )
        )
        layer.filter_map.build((None, features))
        layer.offset_map.build((None, features))
        layer.filters_shape = first.shape

    def generate(self, layer, style, dtype):
        """Filters (N, places, width, C) and offsets (N, C)."""
        style = ops.cast(style, dtype)
        if len(style.shape) > 2:
            style = ops.moveaxis(style, layer.axis, -1)
        if layer.hidden is not None:
            style = applied(layer.hidden, style)
        if len(style.shape) > 2:
            style = ops.mean(style, axis=tuple(range(1, len(style.shape) - 1)))
        filters = applied(layer.filter_map, style)
        shape = (ops.shape(style)[0], *layer.filters_shape)
        return ops.reshape(filters, shape), applied(layer.offset_map, style)


class Values(keras.initializers.Initializer):
    """These numbers."""

    def __init__(self, values):
        self.values = values

    def __call__(self, shape, dtype=None):
        """The numbers in that shape."""
        return ops.reshape(ops.convert_to_tensor(self.values, dtype), shape)


@keras.saving.register_keras_serializable("keras_norm")
class GeneratedConvolution(GeneratedFilters):
    """y = W(s) * x + b(s), a convolution with the filters of each sample.

    Outside of x are zeros. Args: see `GeneratedFilters`.
    """

    def pointwise(self, layer):
        """Is it a factor for each sample and channel?"""
        places, width, _ = layer.filters_shape
        return places == width == 1

    def fold(self, layer, scale, offset, condition=None):
        """A factor and an offset for each sample and channel."""
        if not self.pointwise(layer):
            return scale, offset
        filters, shift = self.generate(layer, condition, scale.dtype)
        gamma = filters[:, 0, 0]
        return scale * gamma, offset * gamma + shift

    def apply(self, layer, y, condition=None):
        """The convolution."""
        if self.pointwise(layer):
            return y
        filters, shift = self.generate(layer, condition, y.dtype)
        y = ops.moveaxis(y, layer.axis, -1)
        spans = sample_convolution.spans_of(layer.sizes)
        slices = sample_convolution.shifted(y, spans)
        y = sample_convolution.total(slices, filters)
        return ops.moveaxis(shifted_by(y, shift), -1, layer.axis)


def shifted_by(y, offset):
    """Channels-last y plus offsets (N, C)."""
    between = [1] * (len(y.shape) - 2)
    shape = (ops.shape(y)[0], *between, y.shape[-1])
    return y + ops.reshape(offset, shape)
