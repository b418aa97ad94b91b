"""Network deconvolution: dense, convolutional and of channels."""

import keras
import numpy as np

import keras_norm as kn
from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan
from golden.plans import transposed

# Name of a layer inside another one.
INNER = "convolution"


def options(row, block):
    """Arguments that all three layers have."""
    return {
        "block": block,
        "iterations": row.config["n_iter"],
        "epsilon": row.epsilon,
        **momentum(row),
    }


def state(row, prefix=""):
    """Links of the state; roles may say how matrices are grouped."""
    names = {
        "moving mean": "moving_mean",
        "moving inverse square root D": "moving_matrix",
    }
    roles = [role.split(" (")[0] for role in row.state.values()]
    links = {}
    for role, short in zip(row.state.values(), roles, strict=True):
        for start, name in names.items():
            if short.startswith(start):
                links[role] = links[short] = Link(prefix + name)
    return links


def convolution(row):
    """The programs pad both sides alike, "same" the end first."""
    config = row.config
    out_channels = config["out_channels"]
    use_bias = config.get("bias", True)

    class Padded(keras.layers.Layer):
        def __init__(self, axis, **keywords):
            super().__init__(**keywords)
            data_format = "channels_first" if axis == 1 else "channels_last"
            self.autocast = False
            self.pad = keras.layers.ZeroPadding2D(
                config["padding"], data_format=data_format, **keywords
            )
            self.convolution = kn.layers.DeconvolutionConv2D(
                out_channels,
                config["kernel_size"],
                strides=config["stride"],
                data_format=data_format,
                dilation_rate=config["dilation"],
                groups=config["groups"],
                use_bias=use_bias,
                sampling_stride=config["sampling_stride"],
                name=INNER,
                **options(row, config["effective_block"]),
                **keywords,
            )

        def build(self, inputs_shape):
            padded = self.pad.compute_output_shape(inputs_shape)
            self.convolution.build(padded)
            self.built = True

        def call(self, inputs, training=None):
            return self.convolution(self.pad(inputs), training=training)

    kernel = Link(
        f"{INNER}/kernel",
        to=lambda k: np.transpose(k, (2, 3, 1, 0)),
        back=lambda k: np.transpose(k, (3, 2, 0, 1)),
    )
    links = {
        "conv kernel OIHW": kernel,
        "conv kernel HWIO": Link(f"{INNER}/kernel"),
        "bias": Link(f"{INNER}/bias"),
        **state(row, f"{INNER}/"),
    }
    return Plan(links=links, affine=False, make=Padded)


def dense(row):
    config = row.config
    arguments = {
        "units": config["out_features"],
        "use_bias": config.get("bias", True),
        **options(row, config["effective_block"]),
    }

    def make(axis, **keywords):
        return kn.layers.DeconvolutionDense(**arguments, **keywords)

    links = {
        "dense kernel (out,in)": transposed("kernel"),
        "dense kernel (in,out)": "kernel",
        "bias": "bias",
        **state(row),
    }
    return Plan(links=links, affine=False, make=make, axes=(-1,))


def channels(row):
    config = row.config
    arguments = options(row, config["block"])
    arguments["sampling_stride"] = config["sampling_stride"]

    class Later(kn.layers.ChannelDeconvolution):
        """Goes on from the number of batches that the program has seen."""

        def build(self, inputs_shape):
            super().build(inputs_shape)
            self.step.assign(config.get("num_batches_tracked", 0))

    def make(axis, **keywords):
        return Later(axis=axis, **arguments, **keywords)

    return Plan(links=state(row), affine=False, make=make)


ADAPTERS = {
    "DeconvolutionConv2D": convolution,
    "DeconvolutionDense": dense,
    "ChannelDeconvolution": channels,
}
