"""What layers with kernels do with channels."""

import keras
import numpy as np

from keras_norm.models.channel_activations import coupling
from keras_norm.models.channel_rules import Rule
from keras_norm.models.channels import Places
from keras_norm.models.layer_calls import host
from keras_norm.models.smaller_layers import remade


class Kernel(Rule):
    """Dense layers and convolutions: channels end, and new ones begin.

    Args:
        layer: the layer.
        inputs, outputs: axes of the kernel; an output axis of None has the
            outputs of each input, as depthwise kernels have.
        name: of the kernel.
    """

    uses_channels = True

    def __init__(self, layer, inputs=-2, outputs=-1, name="kernel"):
        super().__init__(layer)
        self.inputs_axis, self.outputs_axis = inputs, outputs
        self.name = name

    @property
    def kernel(self) -> np.ndarray:
        """The kernel in float64."""
        return host(getattr(self.layer, self.name))

    def connect(self, channels, call, places):
        own = places[0]
        rank = len(call.outputs[0].shape)
        # Dense layers always have channels at the end.
        form = getattr(self.layer, "data_format", "channels_last")
        axis = 1 if form == "channels_first" else rank - 1
        if own.axis != axis:
            self.refuse(channels, [own], "has its channels on another axis")
            ids = channels.fresh(self.kernel.shape[self.inputs_axis])
            own = Places(axis, ids)
            self.refuse(channels, [own], "has its channels on another axis")
        if self.ids_in is None or self.ids_out is None:
            self.ids_in = own.ids
            self.ids_out = self.made(channels, own.ids)
        else:
            # Shared: all calls have the same channels.
            channels.tie(self.ids_in, own.ids, self.layer.name)
        made = Places(axis, self.ids_out)
        if coupling(getattr(self.layer, "activation", None)):
            self.refuse(channels, [made], "has an activation that couples them")
        return made

    def made(self, channels, ids) -> np.ndarray:
        """The channels of the outputs."""
        return channels.fresh(self.kernel.shape[self.outputs_axis])

    def exact(self) -> bool:
        """Is a constant input one at every position, for each output?"""
        padding = getattr(self.layer, "padding", "valid")
        size = getattr(self.layer, "kernel_size", (1,))
        transposed = self.outputs_axis == -2
        if transposed:
            strides = self.layer.strides
            return all(k == s == 1 for k, s in zip(size, strides, strict=True))
        return padding == "valid" or all(k == 1 for k in size)

    def obstacles(self, values, known):
        """(place, why) of the inputs that cannot be removed."""
        for place, (value, other) in enumerate(zip(values, known, strict=True)):
            if np.isnan(value):
                yield place, f"{self.label} uses it, and it varies there"
            elif value != 0 and not self.exact():
                yield place, f"{self.label} pads a constant other than 0"
            elif value != other:
                yield place, f"{self.label} is called with other constants"

    def shift(self, constants, removed) -> np.ndarray:
        """What constants of removed inputs add to each output."""
        values = np.where(removed, np.nan_to_num(constants), 0.0)
        kernel = np.moveaxis(self.kernel, self.inputs_axis, -1) @ values
        return kernel.reshape(-1, kernel.shape[-1]).sum(axis=0)

    def smaller(self, keep, call, shift=None):
        kept_in, kept_out = keep["ids_in"], keep["ids_out"]
        if kept_in.all() and kept_out.all():
            return None
        config = self.layer.get_config()
        config["units" if "units" in config else "filters"] = int(
            kept_out.sum()
        )
        shift = np.zeros(len(kept_out)) if shift is None else shift
        bias = host(self.layer.bias) if self.layer.use_bias else 0.0
        bias = (bias + shift)[kept_out]
        if not self.layer.use_bias and np.any(bias):
            config["use_bias"] = True
        return remade(
            self.layer,
            config,
            self.shape(call, kept_in),
            {**self.kernels(kept_in, kept_out), "bias": bias},
        )

    def kernels(self, kept_in, kept_out) -> dict:
        """{name: kernel} of what is kept."""
        kernel = np.compress(kept_in, self.kernel, self.inputs_axis)
        return {self.name: np.compress(kept_out, kernel, self.outputs_axis)}

    def divided(self, factors) -> dict:
        """{name: kernel} for inputs that are multiplied by factors."""
        kernel = np.moveaxis(self.kernel, self.inputs_axis, -1) / factors
        return {self.name: np.moveaxis(kernel, -1, self.inputs_axis)}

    def shape(self, call, kept_in):
        """The shape of what is kept of an input."""
        form = getattr(self.layer, "data_format", "channels_last")
        shape = list(call.inputs[0].shape)
        shape[1 if form == "channels_first" else -1] = int(kept_in.sum())
        return tuple(shape)


class Separable(Kernel):
    """A depthwise convolution, and a pointwise one of what it makes."""

    def __init__(self, layer):
        super().__init__(layer, -2, -1, "pointwise_kernel")

    @property
    def depthwise(self):
        """The first kernel in float64."""
        return host(self.layer.depthwise_kernel)

    def spread(self, kept):
        """Inputs -> what the depthwise convolution makes of them."""
        return np.repeat(kept, self.depthwise.shape[-1])

    def shift(self, constants, removed):
        values = np.where(removed, np.nan_to_num(constants), 0.0)
        depthwise = self.depthwise
        sums = depthwise.reshape(-1, *depthwise.shape[-2:]).sum(axis=0)
        middle = (values[:, None] * sums).reshape(-1)
        kernel = self.kernel
        return middle @ kernel.reshape(kernel.shape[-2:])

    def divided(self, factors):
        return {"depthwise_kernel": self.depthwise / factors[:, None]}

    def kernels(self, kept_in, kept_out):
        pointwise = np.compress(self.spread(kept_in), self.kernel, -2)
        return {
            "depthwise_kernel": np.compress(kept_in, self.depthwise, -2),
            "pointwise_kernel": np.compress(kept_out, pointwise, -1),
        }


class Depthwise(Kernel):
    """Each channel of the input makes some of its own."""

    uses_channels = False

    def __init__(self, layer):
        super().__init__(layer, -2, None)

    def made(self, channels, ids):
        return np.repeat(ids, self.multiplier)

    @property
    def multiplier(self):
        """Outputs of each input."""
        return self.kernel.shape[-1]

    def carried(self, values, made):
        return np.repeat(values[0], self.multiplier)

    def constants(self, call, values, made):
        kernel = self.kernel
        sums = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
        x = values[0] if self.exact() else np.where(values[0] == 0, 0.0, np.nan)
        y = (x[:, None] * sums).reshape(-1)
        if self.layer.use_bias:
            y = y + host(self.layer.bias)
        known = ~np.isnan(y)
        filled = keras.ops.cast(np.nan_to_num(y), "float32")
        y = keras.ops.convert_to_numpy(self.layer.activation(filled))
        return np.where(known, y.astype("float64"), np.nan)

    def smaller(self, keep, call, shift=None):
        kept = keep["ids_in"]
        if kept.all():
            return None
        values = {"kernel": np.compress(kept, self.kernel, -2)}
        if self.layer.use_bias:
            bias = host(self.layer.bias)
            values["bias"] = bias[np.repeat(kept, self.multiplier)]
        config = self.layer.get_config()
        return remade(self.layer, config, self.shape(call, kept), values)
