"""Initial state and weight shapes of layers with a kernel of their own."""

import math

import numpy as np

DENSE = ("DeconvolutionDense", "MeanNormalizedDense", "WhitenedDense")
NAMES = (
    *DENSE,
    "DeconvolutionConv2D",
    "ChannelDeconvolution",
    "RunningMeanCentering",
)


def dividing(block, entries):
    """Block size that acts: at most all, else the common divisor."""
    return entries if block >= entries else math.gcd(block, entries)


def kernel_size(config):
    size = config["kernel_size"]
    return (size, size) if isinstance(size, int) else tuple(size)


def channel_axis(config):
    return 1 if config.get("data_format") == "channels_first" else -1


def rows(groups, features):
    """State of whitened rows."""
    return {
        "moving_mean": np.zeros(groups * features),
        "moving_matrix": np.stack([np.eye(features)] * groups),
    }


def linear_state(name, config, input_shape):
    """State of a freshly built layer."""
    channels = input_shape[config.get("axis", channel_axis(config))]
    if name == "DeconvolutionDense":
        return rows(1, dividing(config.get("block", 512), channels))
    if name == "DeconvolutionConv2D":
        groups = config.get("groups", 1)
        width = channels // groups
        if groups == 1:
            width = dividing(config.get("block", 64), channels)
        return rows(groups, width * math.prod(kernel_size(config)))
    if name == "ChannelDeconvolution":
        width = min(config.get("block", 64), channels)
        state = rows(1, width)
        if channels % width:
            state["moving_rest_mean"] = np.zeros(1)
            state["moving_rest_variance"] = np.ones(1)
        return {**state, "step": np.array(0)}
    if name == "RunningMeanCentering":
        return {"moving_mean": np.zeros(channels)}
    units = config["units"]
    if name == "MeanNormalizedDense":
        return {
            "moving_mean": np.zeros(channels),
            "compensation": np.zeros(units),
        }
    size = channels if config.get("position", "pre") == "pre" else units
    state = {
        "mean": np.zeros(size),
        "whitening_matrix": np.eye(size),
        "compensation": np.zeros(units),
    }
    if config.get("update_every") is not None:
        samples = config.get("num_samples", 1000)
        state["kernel_shift"] = np.zeros((channels, units))
        state["samples"] = np.zeros((samples, channels))
        state["sample_weights"] = np.zeros(samples)
        state["step"] = np.array(0)
    if config.get("batch_normalization", False):
        state["normalization_moving_mean"] = np.zeros(units)
        state["normalization_moving_variance"] = np.ones(units)
    return state


def linear_weights(name, config, input_shape):
    """Shapes of the trainable weights."""
    channels = input_shape[config.get("axis", channel_axis(config))]
    if name == "DeconvolutionConv2D":
        width = channels // config.get("groups", 1)
        outputs = config["filters"]
        weights = {"kernel": (*kernel_size(config), width, outputs)}
    elif name in DENSE:
        outputs = config["units"]
        weights = {"kernel": (channels, outputs)}
    else:
        return {}
    if config.get("use_bias", True):
        weights["bias"] = (outputs,)
    if config.get("batch_normalization", False):
        weights["normalization_gamma"] = (outputs,)
    return weights
