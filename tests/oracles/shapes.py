"""Initial state and weight shapes of every layer, from the argument list."""

import math

import numpy as np

from . import linear_shapes
from . import mixture_shapes
from . import recovery_shapes
from . import statistics_shapes
from .common import axis_list
from .common import group_count

CONSTANTS = {"zeros": 0.0, "ones": 1.0}

NO_STATE = (
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "PositionalNormalization",
    "MomentShortcut",
    "LocalContrastNormalization",
    "LocalResponseNormalization",
    "DivisiveNormalization",
    "GeneralizedDivisiveNormalization",
    "LocalContextNormalization",
    "RMSNormalization",
    "PixelNormalization",
    "VarianceOnlyLayerNormalization",
    "FilterResponseNormalization",
    "TLU",
    "UnitNormalization",
    "AdaptiveInstanceNormalization",
    "GroupWhitening",
    "WhiteningColoringTransform",
    "GroupwiseWhiteningColoring",
)

NO_AFFINE = (
    "MomentShortcut",
    "LocalContrastNormalization",
    "LocalResponseNormalization",
    "PixelNormalization",
    "TLU",
    "UnitNormalization",
    "AdaptiveInstanceNormalization",
    "WhiteningColoringTransform",
)

PEDESTAL = 2.0**-36


def initial_state(name, config, input_shape):
    """State of a freshly built layer: dict of name -> array."""
    if name in NO_STATE:
        return {}
    if name in linear_shapes.NAMES:
        return linear_shapes.linear_state(name, config, input_shape)
    if name in statistics_shapes.NAMES:
        return statistics_shapes.statistics_state(name, config, input_shape)
    if name in mixture_shapes.NAMES:
        return mixture_shapes.mixture_state(name, config, input_shape)
    if name in recovery_shapes.NAMES:
        return recovery_shapes.recovery_state(name, config, input_shape)
    channels = input_shape[config.get("axis", -1)]
    zeros = np.zeros(channels)
    ones = np.ones(channels)
    if name == "BatchNormalization":
        return _batch_normalization_state(config, channels)
    if name == "BatchGroupNormalization":
        groups = config.get("groups", 32)
        if config.get("mode", "grouped") == "grouped":
            groups = group_count(groups, channels)
        return {
            "moving_mean": np.zeros(groups),
            "moving_variance": np.ones(groups),
        }
    if name == "MeanOnlyBatchNormalization":
        return {"moving_mean": zeros}
    if name == "ScaleOnlyBatchNormalization":
        if config.get("centered_variance", False):
            return {"moving_variance": ones}
        return {"moving_second_moment": ones}
    if name in ("LpBatchNormalization", "RangeBatchNormalization"):
        return {"moving_mean": zeros, "moving_deviation": ones}
    if name == "GeneralizedBatchNormalization":
        return {"moving_center": zeros, "moving_deviation": ones}
    if name == "EvoNorm":
        if config.get("variant", "B0").startswith("B"):
            return {"moving_variance": ones}
        return {}
    if name == "IterativeNormalization":
        size, running = config.get("group_size", 64), "matrix"
        return _whitening_state(config, channels, size, running)
    if name == "DecorrelatedBatchNormalization":
        size, running = config.get("group_size", 16), "covariance"
        return _whitening_state(config, channels, size, running)
    if name == "WhiteningColoringBatchNormalization":
        return _whitening_state(config, channels, None, "covariance")
    if name == "SwitchableWhitening":
        normalizers = config.get("normalizers", ("batch_whitening",))
        if not {"batch", "batch_whitening"} & set(normalizers):
            return {}
        state = _whitening_state(
            config, channels, config.get("group_size", 16), "covariance"
        )
        del state["whitening_matrix"]
        return state
    if name == "DomainWhitening":
        size = config.get("group_size", 4)
        state = _whitening_state(config, channels, size, "covariance")
        rows = config.get("num_domains", 2)
        return {k: np.stack([v] * rows) for k, v in state.items()}
    if name == "SwitchableNormalization":
        normalizers = config.get("normalizers", ("instance", "layer", "batch"))
        if "batch" not in normalizers:
            return {}
        return {"moving_mean": zeros, "moving_variance": ones}
    if name == "PopulationBatchNormalization":
        return {
            "moving_mean": zeros,
            "moving_variance": ones,
            "step": np.array(0),
        }
    if name == "ConditionalBatchNormalization":
        return {"moving_mean": zeros, "moving_variance": ones}
    if name == "ComposedNormalization":
        if config.get("statistics") is None:
            return {}
        if config.get("area", "batch") != "batch":
            raise ValueError("Moving statistics need area='batch'.")
        return {
            "standardize": {"moving_mean": zeros, "moving_variance": ones},
            "center": {"moving_mean": zeros},
            "scale": {"moving_second_moment": ones},
        }[config.get("operation", "standardize")]
    raise ValueError(f"Unknown layer {name!r}.")


def _batch_normalization_state(config, channels):
    mean = config.get("moving_mean_initializer", "zeros")
    variance = config.get("moving_variance_initializer", "ones")
    mean = np.full(channels, CONSTANTS[mean])
    variance = np.full(channels, CONSTANTS[variance])
    state = {"moving_mean": mean, "moving_variance": variance}
    if config.get("renorm", False):
        state["moving_stddev"] = np.sqrt(variance)
        state["renorm_mean"] = mean.copy()
        state["renorm_stddev"] = np.sqrt(variance)
    return state


def _whitening_state(config, channels, size, running):
    size = min(size or channels, channels)
    eyes = np.stack([np.eye(size)] * math.ceil(channels / size))
    mean = {"moving_mean": np.zeros(channels)}
    if config.get("running", running) == "matrix":
        return {**mean, "moving_matrix": eyes}
    return {**mean, "moving_covariance": eyes, "whitening_matrix": eyes.copy()}


def start(name, config, input_shape, state):
    """The initial state, overwritten by what `state` gives."""
    given = {k: np.asarray(v) for k, v in (state or {}).items()}
    return {**initial_state(name, config, input_shape), **given}


def weight_shapes(name, config, input_shapes):
    """Shapes of the trainable weights in the layer's order.

    `input_shapes`: one shape for every input of the call, x first.
    """
    shape = tuple(input_shapes[0])
    if name in linear_shapes.NAMES:
        return linear_shapes.linear_weights(name, config, shape)
    if name in statistics_shapes.NAMES:
        return statistics_shapes.statistics_weights(name, config, shape)
    if name in mixture_shapes.NAMES:
        return mixture_shapes.mixture_weights(name, config, shape)
    if name in recovery_shapes.NAMES:
        return recovery_shapes.recovery_weights(name, config, input_shapes)
    axis = config.get("axis", -1)
    if name in ("LayerNormalization", "RMSNormalization"):
        return _free_axes_weights(name, config, shape)
    if name in ("MomentShortcut", "UnitNormalization"):
        return {}
    channels = shape[axis]
    if name == "GeneralizedDivisiveNormalization":
        return {"beta": (channels,), "gamma": (channels, channels)}
    if name == "TLU":
        return {"tau": (channels,)}
    if name == "WhiteningColoringBatchNormalization":
        return _coloring_weights(config, channels)
    if name == "GroupwiseWhiteningColoring":
        return _groupwise_weights(config, channels, input_shapes)
    if name == "AdaptiveInstanceNormalization":
        if config.get("variant", "style") != "dense":
            return {}
        style = input_shapes[1][-1]
        return {"kernel": (style, 2 * channels), "bias": (2 * channels,)}
    if name in NO_AFFINE:
        return {}

    without = (
        "PositionalNormalization",
        "VarianceOnlyLayerNormalization",
        "DomainWhitening",
    )
    default = name not in without
    if name == "ComposedNormalization":
        default = config.get("recovery", "affine") == "affine"
    weights = {}
    if config.get("scale", default) and name != "MeanOnlyBatchNormalization":
        weights["gamma"] = (channels,)
    if config.get("center", default):
        weights["beta"] = (channels,)

    if name == "DivisiveNormalization":
        weights["sigma"] = (1,)
    if name == "FilterResponseNormalization":
        if config.get("learn_epsilon", False):
            weights["learned_epsilon"] = (1,)
        if config.get("use_tlu", False):
            weights["tau"] = (channels,)
    if name == "EvoNorm" and config.get("variant", "B0") in ("B0", "S0"):
        weights["v"] = (channels,)
    if name == "ConditionalBatchNormalization":
        classes = config.get("num_classes")
        hidden = config.get("hidden_units")
        width = classes if classes is not None else input_shapes[1][-1]
        if hidden is not None:
            weights["hidden_kernel"] = (width, hidden)
            weights["hidden_bias"] = (hidden,)
            width = hidden
        weights["projection"] = (width, 2 * channels)
    if name == "SwitchableNormalization":
        normalizers = list(
            config.get("normalizers", ("instance", "layer", "batch"))
        )
        if len(shape) == 2 and "instance" in normalizers:
            normalizers.remove("instance")
        weights["mean_weight"] = (len(normalizers),)
        weights["variance_weight"] = (len(normalizers),)
    if name == "SwitchableWhitening":
        count = len(config.get("normalizers", range(2)))
        weights["mean_weight"] = (count,)
        if not config.get("tie_weights", False):
            weights["covariance_weight"] = (count,)
    return weights


def _free_axes_weights(name, config, shape):
    """Layer and RMS normalization: parameters of the shape of `axis`."""
    axis = config.get("axis", -1)
    if config.get("param_axis") is not None:
        axis = config["param_axis"]
    sizes = tuple(shape[a] for a in axis_list(axis, len(shape)))
    if name == "RMSNormalization":
        weights = {"scale": sizes}
        if config.get("center", False):
            weights["beta"] = sizes
        return weights
    weights = {}
    if config.get("scale", True):
        weights["gamma"] = sizes
    if config.get("center", True):
        weights["beta"] = sizes
    return weights


def _coloring_weights(config, channels):
    """A color and a bias, and what every class adds to them."""
    square = (channels, channels)
    classes, bases = config.get("num_classes"), config.get("num_bases")
    weights = {"color": square}
    if config.get("use_bias", True):
        weights["bias"] = (channels,)
    if bases is not None:
        weights["class_code"] = (classes, bases)
        weights["color_basis"] = (bases, *square)
    elif classes is not None:
        weights["class_color"] = (classes, *square)
    if classes is not None and config.get("use_bias", True):
        weights["class_bias"] = (classes, channels)
    return weights


def _groupwise_weights(config, channels, input_shapes):
    """Alpha; the dense layers of two networks, unless their results come."""
    weights = {"alpha": (1,)}
    if len(input_shapes) == 3:
        return weights
    groups, features = config.get("groups", 8), input_shapes[1][-1]
    hidden = [config.get("units", 256)] * (config.get("coloring_layers", 5) - 1)
    networks = {
        "coloring": [features // groups, *hidden, (channels // groups) ** 2],
        "mean": [features] * config.get("mean_layers", 3) + [channels],
    }
    for name, widths in networks.items():
        for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            weights[f"{name}_{i}_kernel"] = (a, b)
            weights[f"{name}_{i}_bias"] = (b,)
    return weights
