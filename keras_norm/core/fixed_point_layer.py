"""Batch normalization in integers, as a layer."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import channels_of


@keras.saving.register_keras_serializable("keras_norm")
class FixedPointBatchNormalization(keras.layers.Layer):
    """y = clip(floor((multiplier * q + bias) / divisor)), all in int32.

    Made by `keras_norm.tools.quantize_batch_norm`, which sets the weights.
    Where the divisor is a power of two, the division is a shift.

    Args:
        divisor: a positive integer, of all channels.
        output_codes: (least, greatest) result.
        axis: of the channels.
        **kwargs: `name` of `keras.layers.Layer`.

    Call arguments:
        inputs: codes, a tensor of integers.

    Raises:
        ValueError: inputs that are no integers.
    """

    def __init__(self, divisor=1, output_codes=(-128, 127), axis=-1, **kwargs):
        kwargs.pop("trainable", None)
        super().__init__(trainable=False, **kwargs)
        # Integers stay what they are, whatever the policy.
        self.autocast = False
        self.divisor = int(divisor)
        self.output_codes = tuple(int(c) for c in output_codes)
        self.axis = axis

    def build(self, input_shape):
        """Create multiplier and bias."""
        channels = channels_of(self.axis, input_shape)
        for name in ("multiplier", "bias"):
            weight = self.add_weight(
                name=name,
                shape=(channels,),
                initializer="zeros",
                dtype="int32",
                trainable=False,
            )
            setattr(self, name, weight)
        self.built = True

    def call(self, inputs):
        """Multiply, add, divide, clip."""
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if "int" not in dtype:
            raise errors.received(
                "The input must be codes, of an integer dtype.",
                "Divide the data by the scale, round, and cast them.",
                dtype=dtype,
            )
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        a, b = (ops.reshape(w, shape) for w in (self.multiplier, self.bias))
        total = ops.cast(inputs, "int32") * a + b
        if self.divisor & (self.divisor - 1):
            total = ops.floor_divide(total, self.divisor)
        elif self.divisor > 1:
            total = ops.right_shift(total, self.divisor.bit_length() - 1)
        return ops.clip(ops.cast(total, "int32"), *self.output_codes)

    def compute_output_spec(self, inputs):
        """The shape of the input, in int32."""
        return keras.KerasTensor(inputs.shape, dtype="int32")

    def get_config(self):
        """All constructor arguments."""
        return {
            **super().get_config(),
            "divisor": self.divisor,
            "output_codes": list(self.output_codes),
            "axis": self.axis,
        }
