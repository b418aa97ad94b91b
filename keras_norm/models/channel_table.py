"""The rule of every layer: what it does with channels."""

import keras
from keras import layers

from keras_norm.models import channel_activations as activations
from keras_norm.models import channel_kernels as kernels
from keras_norm.models import channel_merges as merges
from keras_norm.models import channel_rules as rules
from keras_norm.models.channel_norms import Affine
from keras_norm.models.channel_norms import per_channel

CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
# Not at inference, where they do nothing.
CHANCE = (
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
# Of these, what is not proportional to the input in training.
NOISE = (layers.AlphaDropout, layers.GaussianNoise)
NOTHING = (layers.ActivityRegularization, layers.Identity)
POOLS = (
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
)
PADS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
GLOBAL = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
SUMS = (layers.Add, layers.Average, layers.Subtract)
EXTREMES = (layers.Maximum, layers.Minimum)
# Names of bare operations of keras.ops, which Keras' public names lack.
BARE_ACTIVATIONS = frozenset(
    """Celu Elu Gelu HardSigmoid HardSilu HardTanh LeakyRelu LogSigmoid Mish
    Relu Relu6 Selu Sigmoid Silu Softplus Softsign Tanh""".split()
)
BARE_SUMS = frozenset(("Add", "Subtract", "Maximum", "Minimum"))
BARE_QUOTIENTS = frozenset(("Divide", "TrueDivide"))


def rule_of(layer) -> rules.Rule:
    """What a layer, of exactly these classes, does with channels."""
    kind = type(layer)
    if per_channel(layer):
        return Affine(layer)
    if not isinstance(layer, keras.layers.Layer):
        return of_operation(layer)
    found = of_kernel(layer)
    if found is not None:
        return found
    if kind is layers.Activation:
        return of_activation(layer, layer.activation)
    if kind is layers.ReLU:
        whole = layer.max_value is None and not layer.threshold
        return rules.Elementwise(layer, homogeneous=whole)
    if kind in (layers.ELU, layers.LeakyReLU):
        return rules.Elementwise(layer, kind is layers.LeakyReLU)
    if kind is layers.PReLU:
        return activations.ParametricReLU(layer)
    if kind in CHANCE or kind in POOLS:
        return rules.Pool(layer, pads(layer), kind not in NOISE)
    if kind in NOTHING:
        return rules.Pool(layer, False, kind is layers.Identity)
    if kind in PADS:
        return rules.Pool(layer, only_zero=True)
    if kind in GLOBAL:
        return rules.GlobalPool(layer)
    for one, rule in (
        (layers.Flatten, rules.Flatten),
        (layers.Reshape, rules.Reshape),
        (layers.Concatenate, merges.Concatenate),
    ):
        if kind is one:
            return rule(layer)
    if kind in SUMS or kind in EXTREMES:
        return merges.Merge(layer, "sum")
    if kind is layers.Multiply:
        return merges.Merge(layer, "product")
    return rules.Rule(layer)


def of_kernel(layer) -> rules.Rule | None:
    """The rule of a layer with a kernel; None for others."""
    kind = type(layer)
    known = kind is layers.Dense or kind in (
        *CONVOLUTIONS,
        *TRANSPOSED,
        *DEPTHWISE,
        *SEPARABLE,
    )
    if not known:
        return None
    # Of other weights than those that are known there is no saying.
    adapted = getattr(layer, "lora_enabled", False)
    adapted = adapted or getattr(layer, "quantization_mode", None) is not None
    if adapted or not layer.built or getattr(layer, "groups", 1) > 1:
        return rules.Rule(layer)
    if kind in DEPTHWISE:
        return kernels.Depthwise(layer)
    if kind in SEPARABLE:
        return kernels.Separable(layer)
    if kind in TRANSPOSED:
        return kernels.Kernel(layer, -1, -2)
    return kernels.Kernel(layer)


def of_activation(layer, function) -> rules.Rule:
    """The rule of a layer that applies a function."""
    if activations.coupling(function):
        return rules.Rule(layer)
    name = activations.activation_name(function)
    return rules.Elementwise(layer, name in activations.HOMOGENEOUS)


def of_operation(operation) -> rules.Rule:
    """The rule of a bare operation of keras.ops."""
    name = type(operation).__name__
    if not type(operation).__module__.startswith("keras."):
        return rules.Rule(operation)
    if name in BARE_ACTIVATIONS:
        return rules.Elementwise(operation, name in ("Relu", "LeakyRelu"))
    if name in BARE_SUMS:
        return merges.Bare(operation, "sum")
    if name == "Multiply":
        return merges.Bare(operation, "product")
    if name in BARE_QUOTIENTS:
        return merges.Quotient(operation)
    return rules.Rule(operation)


def pads(layer) -> bool:
    """May averages at the border count what is not there?"""
    averages = "Average" in type(layer).__name__
    return averages and layer.padding != "valid"
