"""Kernel and bias of a linear layer, with scale-and-shifts folded into them.

After the layer, with y = W x + b,

    s (W x + b) + t = (s W) x + (s b + t),

s on the axis of the outputs. Before it,

    W (s x + t) + b = (W s) x + (b + W t),

s on the axis of the inputs; for a convolution that is true where no zeros are
padded, which are not t. All of it is in float64 and rounded once, at the end.
"""

from typing import Any

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_norm.core.kernel_wrapper import KernelWrapper
from keras_norm.core.plain_weights import PlainWeights
from keras_norm.models.affine_maps import AffineMap
from keras_norm.models.affine_maps import wide
from keras_norm.models.conversion_report import Kept

DENSE = (layers.Dense,)
CONVOLUTION = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
LINEAR = (*DENSE, *CONVOLUTION, *TRANSPOSED, *DEPTHWISE, *SEPARABLE)


def plain_of(layer) -> Any:
    """The linear layer of Keras behind a layer.

    Raises:
        Kept: it is none, or not a plain one.
    """
    plain = layer
    if isinstance(layer, KernelWrapper):
        plain = layer.plain_layer()
        own = type(layer).finish is not KernelWrapper.finish
        if own or not isinstance(layer, PlainWeights):
            raise Kept(
                f"`{layer.name}` does more than its kernel, as "
                f"{type(layer).__name__} does"
            )
    if type(plain) not in LINEAR:
        what = type(plain).__name__
        if isinstance(plain, LINEAR):
            what = f"subclass {what}"
        raise Kept(
            f"`{layer.name}`, a {what}, is no dense or convolutional layer of "
            "Keras"
        )
    if getattr(plain, "quantization_mode", None):
        raise Kept(f"the kernel of `{layer.name}` is quantized")
    if getattr(plain, "lora_enabled", False):
        raise Kept(f"`{layer.name}` has low-rank adapters beside its kernel")
    return plain


def linear(layer) -> bool:
    """Can something be folded into a layer?"""
    try:
        plain_of(layer)
    except Kept:
        return False
    return True


class Folding:
    """What a linear layer becomes.

    Args:
        layer: a built layer of Keras, or a wrapper with another kernel.
        rank: of its outputs.
    """

    def __init__(self, layer, rank):
        self.layer, self.plain, self.rank = layer, plain_of(layer), rank
        own = self.plain.variables
        wrapped = isinstance(layer, PlainWeights)
        values = layer.plain_values() if wrapped else own
        held = {id(v): wide(t) for v, t in zip(own, values, strict=True)}
        self.kind = next(
            kind
            for kind in (DENSE, CONVOLUTION, TRANSPOSED, DEPTHWISE, SEPARABLE)
            if type(self.plain) in kind
        )
        names = ("depthwise_kernel", "pointwise_kernel")
        self.names = names if self.kind is SEPARABLE else ("kernel",)
        # Several in the order in which the data meet them.
        variables = [getattr(self.plain, name) for name in self.names]
        self.kernels = [held[id(v)] for v in variables]
        bias = self.plain.bias
        self.bias = np.zeros(()) if bias is None else held[id(bias)]

    # Conditions ---------------------------------------------------------------

    def check_axis(self, axis):
        """Refuse a map of another axis than that of the channels."""
        first = getattr(self.plain, "data_format", None) == "channels_first"
        channels = 1 if first else self.rank - 1
        if axis % self.rank != channels:
            raise Kept(
                f"its axis is {axis}, the channels of `{self.layer.name}` are "
                f"at axis {channels}"
            )

    def check_after(self, found: AffineMap):
        """Refuse what is not linear in the kernel."""
        activation = self.plain.activation
        if activation is not keras.activations.linear:
            name = getattr(activation, "__name__", type(activation).__name__)
            does = "layer" if self.kind is DENSE else "convolution"
            raise Kept(f"the {does} applies activation={name} before it")
        self.check_axis(found.axis)

    def check_before(self, found: AffineMap):
        """Refuse padding, at which the input is 0 and not the shift."""
        self.check_axis(found.axis)
        if self.kind is DENSE or not found.shift.any():
            return
        plain = self.plain
        single = all(k == 1 for k in plain.kernel_size)
        if self.kind is TRANSPOSED:
            if not single or any(s != 1 for s in plain.strides):
                raise Kept(
                    "the outputs of a transposed convolution are sums of "
                    "different numbers of inputs"
                )
        elif plain.padding != "valid" and not single:
            raise Kept(
                f"the convolution pads with zeros (padding={plain.padding!r}) "
                "after it"
            )

    # Arithmetic ---------------------------------------------------------------

    def after(self, found: AffineMap):
        """Apply a map to the outputs."""
        scale, last = found.scale, self.kernels[-1]
        if self.kind is TRANSPOSED:
            last = last * scale[:, None]
        elif self.kind is DEPTHWISE:
            last = last * scale.reshape(last.shape[-2:])
        else:
            last = last * scale
        self.kernels[-1] = last
        self.bias = self.bias * scale + found.shift

    def before(self, found: AffineMap):
        """Apply a map to the inputs."""
        self.bias = self.bias + self.of_constant(found.shift)
        first = self.kernels[0]
        by_input = self.by_input(found.scale)
        self.kernels[0] = first * by_input

    def by_input(self, t):
        """An entry for each input channel, to be broadcast to the kernel."""
        first = self.kernels[0]
        if self.kind is TRANSPOSED:
            return t
        if self.kind is not CONVOLUTION or len(t) == first.shape[-2]:
            return t[:, None]
        # Of each group of outputs its own inputs.
        groups = len(t) // first.shape[-2]
        each = first.shape[-1] // groups
        return np.repeat(t.reshape(groups, -1).T, each, axis=1)

    def of_constant(self, t):
        """What the kernels make of a constant for each input channel."""
        passed = self.kernels[0] * self.by_input(t)
        space = tuple(range(passed.ndim - 2))
        passed = passed.sum(space)
        if self.kind in (DEPTHWISE, SEPARABLE):
            # Of channel c and multiplier m, at c * multipliers + m.
            passed = passed.reshape(-1)
            if self.kind is SEPARABLE:
                pointwise = self.kernels[1]
                return passed @ pointwise.reshape(pointwise.shape[-2:])
            return passed
        return passed.sum(-1 if self.kind is TRANSPOSED else -2)

    # The result ---------------------------------------------------------------

    def made(self):
        """The layer with these weights, under the name of the old one."""
        plain, old = self.plain, self.layer
        used = plain.use_bias or bool(np.any(self.bias))
        config = {**plain.get_config(), "use_bias": used, "name": old.name}
        new = type(plain).from_config(config)
        # Of Keras' name scopes: variables keep their paths.
        new._parent_path = old._parent_path
        new.build_from_config(plain.get_build_config())
        for name, value in zip(self.names, self.kernels, strict=True):
            fill(getattr(new, name), value)
            getattr(new, name).trainable = getattr(plain, name).trainable
        if used:
            fill(new.bias, np.broadcast_to(self.bias, new.bias.shape))
        new._trainable = old._trainable
        return new


def fill(variable, value):
    """Assign a float64 array: the one rounding."""
    kept = "float64" if variable.dtype == "float64" else "float32"
    value = ops.convert_to_tensor(value.astype(kept))
    variable.assign(ops.cast(value, variable.dtype))
