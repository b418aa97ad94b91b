"""Scale and offset for each position, generated from a map."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import map_networks
from keras_norm.core import resizing
from keras_norm.core.layer import positive
from keras_norm.core.recoveries import Nothing
from keras_norm.core.window_sums import per_axis


@keras.saving.register_keras_serializable("keras_norm")
class GeneratedMaps(Nothing):
    """y = (1 + gamma(m)) x + beta(m) from a map m of conditions.

    m is brought to the size of x; then a convolution with ReLU and one more
    for each of gamma and beta.

    Args:
        hidden_filters: of the first convolution.
        kernel_size: of all three, one number or one for each spatial axis.
        interpolation: "nearest", entry floor(i * size / new size), or
            "bilinear".
    """

    condition = "a map (N, h, w, L), of any size"

    def __init__(
        self, hidden_filters=128, kernel_size=3, interpolation="nearest"
    ):
        positive("hidden_filters", hidden_filters)
        several = isinstance(kernel_size, (list, tuple))
        per_axis("kernel_size", kernel_size, len(kernel_size) if several else 1)
        if interpolation not in resizing.INTERPOLATIONS:
            raise errors.unknown_name(
                "interpolation", interpolation, list(resizing.INTERPOLATIONS)
            )
        self.hidden_filters, self.kernel_size = hidden_filters, kernel_size
        self.interpolation = interpolation

    def build(self, layer, channels, condition_shape=None) -> None:
        """The three convolutions."""
        count = len(condition_shape) - 2
        sizes = per_axis("kernel_size", self.kernel_size, count)
        features = map_networks.channels_of_map(
            "condition", condition_shape, layer.axis
        )
        hidden = self.hidden_filters
        layer.hidden = map_networks.convolution(
            layer, "hidden", features, hidden, sizes, activation="relu"
        )
        layer.gamma_map, layer.beta_map = (
            map_networks.convolution(layer, name, hidden, channels, sizes)
            for name in ("gamma", "beta")
        )

    def apply(self, layer, y, condition=None):
        """Scale and shift each position."""
        axis = layer.axis % len(y.shape)
        m = ops.cast(condition, y.dtype)
        m = resizing.resized(m, y, axis, self.interpolation)
        h = map_networks.applied(layer.hidden, ops.moveaxis(m, axis, -1))
        gamma, beta = (
            ops.moveaxis(map_networks.applied(network, h), -1, axis)
            for network in (layer.gamma_map, layer.beta_map)
        )
        return y * (1.0 + gamma) + beta
