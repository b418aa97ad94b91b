"""Initial state and weight shapes of the layers of chapter statistics."""

import math

import numpy as np

from .linear_shapes import channel_axis
from .linear_shapes import kernel_size

MOVING = ("moving_mean", "moving_variance")
STOCHASTIC = (
    "moving_mean",
    "moving_squared_mean",
    "moving_log_variance",
    "moving_squared_log_variance",
)
WITNESS = "backward_witness"
WITH_KERNEL = (
    "CrossIterationConv2D",
    "CrossIterationDense",
    "FineGrainedConv2D",
)
NAMES = (
    "GhostBatchNormalization",
    "BatchRenormalization",
    "FullNormalization",
    "MomentumBatchNormalization",
    "MemorizedBatchNormalization",
    "OnlineNormalization",
    "PowerNormalization",
    "MovingAverageBatchNormalization",
    "KalmanNormalization",
    "CrossIterationBatchNormalization",
    "FrozenBatchNormalization",
    "SwitchableBatchNormalization",
    "StochasticBatchNormalization",
    "FineGrainedBatchNormalization",
    *WITH_KERNEL,
)


def moving(shape, prefix="moving"):
    """A mean of 0 and a variance of 1."""
    return {
        f"{prefix}_mean": np.zeros(shape),
        f"{prefix}_variance": np.ones(shape),
    }


def statistics_state(name, config, input_shape):
    """State of a freshly built layer."""
    channels = input_shape[config.get("axis", channel_axis(config))]
    zeros, ones, step = np.zeros(channels), np.ones(channels), np.array(0)
    if name == "BatchRenormalization":
        return {
            "moving_mean": zeros,
            "moving_stddev": ones,
            "rmax": np.array(config.get("rmax", 3.0)),
            "dmax": np.array(config.get("dmax", 5.0)),
        }
    if name == "FullNormalization":
        return {**moving(channels), "step": step}
    if name == "MomentumBatchNormalization":
        return {
            **moving(channels, "training"),
            **moving(channels),
            "training_momentum": np.array(0.0),
            "moving_momentum": np.array(config.get("momentum", 0.9)),
        }
    if name == "MemorizedBatchNormalization":
        rows = (config.get("memory_size", 5), channels)
        return {**moving(rows, "memory"), "count": step}
    if name == "PowerNormalization":
        return {"moving_second_moment": ones, "step": step}
    if name == "MovingAverageBatchNormalization":
        rows = (config.get("buffer_size", 16), channels)
        return {
            "moving_second_moment": ones,
            "second_moments": np.zeros(rows),
            "step": step,
        }
    if name.startswith("CrossIteration"):
        return cross_iteration_state(name, config, channels)
    if name == "FrozenBatchNormalization":
        gamma = {"gamma": ones} if config.get("scale", True) else {}
        beta = {"beta": zeros} if config.get("center", True) else {}
        return {**gamma, **beta, **moving(channels)}
    if name == "SwitchableBatchNormalization":
        widths = config["widths"]
        return moving((len(widths), max(widths)))
    if name == "StochasticBatchNormalization":
        return {key: zeros for key in STOCHASTIC}
    if name == "FineGrainedConv2D":
        return moving(config.get("groups", 1) * config["filters"])
    return moving(channels)


def cross_iteration_state(name, config, channels):
    """Moving statistics, and the window where it has earlier batches."""
    length = config.get("window_size", 8) - 1
    outputs = config.get("units", config.get("filters", channels))
    state = {**moving(outputs), "step": np.array(0)}
    if not length:
        return state
    features = channels
    if name == "CrossIterationConv2D":
        features *= math.prod(kernel_size(config))
    features += config.get("use_bias", False)
    state["window_mean"] = np.zeros((length, outputs))
    state["window_square"] = np.zeros((length, outputs))
    if name in WITH_KERNEL:
        for key in ("mean_slope", "square_slope", "kernel"):
            state[f"window_{key}"] = np.zeros((length, features, outputs))
    return {**state, "count": np.array(0)}


def statistics_weights(name, config, input_shape):
    """Shapes of the trainable weights."""
    channels = input_shape[config.get("axis", channel_axis(config))]
    weights, size, centred = {}, (channels,), (channels,)
    if name in WITH_KERNEL:
        outputs = config.get("units", config.get("filters"))
        weights["kernel"] = (channels, outputs)
        if "filters" in config:
            own = "FineGrained" not in name  # its groups have all the outputs
            width = channels // (config.get("groups", 1) if own else 1)
            weights["kernel"] = (*kernel_size(config), width, outputs)
        if config.get("use_bias", False):
            weights["bias"] = (outputs,)
        size = centred = (outputs,)
    if name == "FineGrainedBatchNormalization":
        centred = (channels // config["groups"],)
    if "FineGrained" in name:
        size = (config.get("groups", 1), *centred)
    if name == "FrozenBatchNormalization":
        return {}
    if name == "SwitchableBatchNormalization":
        widths = config["widths"]
        rows = () if config.get("shared_affine", False) else (len(widths),)
        size = centred = (*rows, max(widths))
    if config.get("scale", True):
        weights["gamma"] = size
    if config.get("center", True):
        weights["beta"] = centred
    if name == "KalmanNormalization" and config.get("learn_keep", False):
        weights["keep"] = ()
    return {**weights, **gradient_state(name, config, channels)}


def gradient_state(name, config, channels):
    """What the backward pass keeps from step to step.

    And a number without a formula: it tells whether that pass has been here.
    """
    control = config.get("control", "state") == "state"
    approximate = config.get("backward", "approximate") == "approximate"
    kept = {}
    if name == "OnlineNormalization" and control:
        kept = {"mean_control": (channels,), "output_control": (channels,)}
    if name == "PowerNormalization" and approximate:
        kept = {"mean_product": (channels,)}
    if name == "MovingAverageBatchNormalization":
        kept = {"products": (config.get("buffer_size", 16), channels)}
    return {**kept, WITNESS: ()} if kept else {}
