"""What is put back after normalizing (the survey's representation recovery).

`fold` works on the table, where it costs nothing: it turns (scale, offset)
into (scale, offset). `apply` works on the data, for what cannot be folded.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core.classes import check_classes
from keras_norm.core.layer import one_integer


@keras.saving.register_keras_serializable("keras_norm")
class Nothing(configuration.Part):
    """No recovery: the normalized data are the output."""

    # The condition that calls must bring; None: no second input.
    condition: str | None = None
    # Does `fold` get the moments of the input in place of a condition? See
    # `generated_recoveries`.
    sees_table = False

    def build(self, layer, channels, condition_shape=None) -> None:
        """Create weights on the layer."""

    def fold(self, layer, scale, offset, condition=None):
        """(scale, offset) -> (scale, offset), each (1 or N, C)."""
        return scale, offset

    def color(self, layer, blocks, groups, condition=None):
        """The same for matrices: what folds is folded into them.

        Args:
            layer: its weights are used.
            blocks: (groups, d, d) or (N, groups, d, d), output index last.
            groups: of channels.
            condition: second input, if any.

        Returns:
            blocks, their groups, and the (scale, offset) that is left; scale
            is None if it is folded.
        """
        one = ops.ones((1, groups.channels), blocks.dtype)
        scale, offset = self.fold(layer, one, 0.0 * one, condition)
        if scale.shape[0] == 1:
            filled = ops.expand_dims(groups.split(scale), -2)
            filled = filled if len(blocks.shape) == 4 else filled[0]
            return blocks * filled, groups, None, offset
        return blocks, groups, scale, offset

    def apply(self, layer, y, condition=None):
        """The data -> the data."""
        return y


@keras.saving.register_keras_serializable("keras_norm")
class Affine(Nothing):
    """y = gamma * x + beta, one pair per channel, by the layer's options."""

    def build(self, layer, channels, condition_shape=None) -> None:
        """Create gamma and beta of shape (channels,)."""
        layer.add_affine((channels,))

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by gamma, add beta."""
        if layer.gamma is not None:
            gamma = ops.expand_dims(ops.cast(layer.gamma, scale.dtype), 0)
            scale, offset = scale * gamma, offset * gamma
        if layer.beta is not None:
            offset = offset + ops.expand_dims(
                ops.cast(layer.beta, scale.dtype), 0
            )
        return scale, offset


@keras.saving.register_keras_serializable("keras_norm")
class Conditional(Affine):
    """gamma = gamma0 + W_g c, beta = beta0 + W_b c, from a condition c.

    At the start the maps are zero: the layer is its unconditional self.

    Args:
        num_classes: the condition is an integer of shape (N,) or (N, 1), or a
            soft assignment (N, num_classes). None: features (N, D).
        hidden_units: put a Dense layer with ReLU before the maps.
    """

    condition = "features (N, D) or labels"

    def __init__(self, num_classes=None, hidden_units=None):
        for name, value in (
            ("num_classes", num_classes),
            ("hidden_units", hidden_units),
        ):
            if value is not None and one_integer(name, value) < 1:
                raise errors.received(
                    f"`{name}` must be positive.", **{name: value}
                )
        self.num_classes, self.hidden_units = num_classes, hidden_units

    def build(self, layer, channels, condition_shape=None) -> None:
        """gamma0 and beta0, the hidden layer, the maps."""
        super().build(layer, channels)
        if self.num_classes:
            check_classes(condition_shape, self.num_classes)
        elif len(condition_shape) != 2:
            raise errors.received(
                "`condition` must be features (N, D) where `num_classes` is "
                "not given.",
                "Give num_classes for labels.",
                condition_shape=condition_shape,
            )
        features = self.num_classes or condition_shape[-1]
        # Wide, whatever the layer's policy: the maps make scales and offsets.
        wide = "float64" if layer.compute_dtype == "float64" else "float32"
        if features is None:
            raise errors.received(
                "The last axis of `condition` must have a static size.",
                condition_shape=condition_shape,
            )
        layer.hidden = None
        if self.hidden_units:
            layer.hidden = keras.layers.Dense(
                self.hidden_units, "relu", dtype=wide, name="hidden"
            )
            layer.hidden.build((None, features))
            features = self.hidden_units
        layer.projection = keras.layers.Dense(
            2 * channels,
            use_bias=False,
            kernel_initializer="zeros",
            dtype=wide,
            name="projection",
        )
        layer.projection.build((None, features))

    def encode(self, condition, dtype):
        """Features (N, D) of a condition."""
        if self.num_classes:
            wide = len(condition.shape) == 2 and condition.shape[-1] != 1
            if not wide:
                labels = ops.cast(ops.reshape(condition, (-1,)), "int32")
                condition = ops.one_hot(labels, self.num_classes)
        return ops.cast(condition, dtype)

    def fold(self, layer, scale, offset, condition=None):
        """Gamma and beta per sample."""
        c = self.encode(condition, scale.dtype)
        if layer.hidden is not None:
            c = layer.hidden(c)
        both = ops.cast(layer.projection(c), scale.dtype)
        gamma, beta = ops.split(both, 2, axis=-1)
        if layer.gamma is not None:
            gamma = gamma + ops.cast(layer.gamma, scale.dtype)
        else:
            gamma = gamma + 1.0
        if layer.beta is not None:
            beta = beta + ops.cast(layer.beta, scale.dtype)
        return scale * gamma, offset * gamma + beta


@keras.saving.register_keras_serializable("keras_norm")
class Generated(Nothing):
    """gamma and beta of shape (N, C) come with the call: y = gamma x + beta."""

    condition = "gamma and beta, both (N, C), or both in one (N, 2 C)"

    def check(self, channels, *shapes) -> None:
        """Refuse shapes of gamma and beta, or of both in one, that do not fit.

        Args:
            channels: of the input.
            *shapes: two, or one.
        """
        width = channels if len(shapes) == 2 else 2 * channels
        for shape in shapes:
            if len(shape) != 2 or shape[-1] not in (None, width):
                raise errors.received(
                    "gamma and beta must both be (N, C), or in one (N, 2 C), C "
                    "the channels of the input.",
                    channels=channels,
                    condition_shapes=shapes,
                )

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by gamma, add beta."""
        if not isinstance(condition, (list, tuple)):
            condition = ops.split(condition, 2, axis=-1)
        gamma, beta = (ops.cast(c, scale.dtype) for c in condition)
        return scale * gamma, offset * gamma + beta
