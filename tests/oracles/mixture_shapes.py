"""Initial state and weight shapes of the chapters mixture and domain."""

import numpy as np

THREE = ("instance", "layer", "batch")
OF_DOMAINS = (
    "DomainSpecificBatchNormalization",
    "DomainAlignmentNormalization",
    "TransferableNormalization",
    "DomainSpecificOptimizedNormalization",
)
NAMES = (
    "SparseSwitchableNormalization",
    "ExemplarNormalization",
    "DynamicNormalization",
    "BatchInstanceNormalization",
    "AdaptiveLayerInstanceNormalization",
    "LayerInstanceNormalization",
    "TaskNormalization",
    "InstanceBatchNormalization",
    "BatchChannelNormalization",
    "ModeNormalization",
    "MixtureNormalization",
    *OF_DOMAINS,
    "CovarianceNormalization",
)


def moving(*shape):
    """A mean of 0 and a variance of 1."""
    return {"moving_mean": np.zeros(shape), "moving_variance": np.ones(shape)}


def normalizers_of(config, input_shape, default=THREE):
    """Inputs (N, C) have no instances."""
    names = config.get("normalizers", default)
    return [n for n in names if len(input_shape) > 2 or n != "instance"]


def batch_channels(config, channels):
    """Of instance-batch normalization: those that the batch normalizes."""
    if config.get("variant", "a") == "b":
        return 0
    return channels - int(channels * config.get("ratio", 0.5))


def mixture_state(name, config, input_shape):
    """State of a freshly built layer."""
    channels = input_shape[config.get("axis", -1)]
    if name == "CovarianceNormalization":
        return {}
    if name == "SparseSwitchableNormalization":
        mixed = normalizers_of(config, input_shape)
        return {
            **(moving(channels) if "batch" in mixed else {}),
            "radius": np.array(0.0),
            "mean_chosen": np.zeros(len(mixed)),
            "variance_chosen": np.zeros(len(mixed)),
        }
    if name == "ExemplarNormalization":
        batch = "batch" in config.get("normalizers", THREE)
        return moving(channels) if batch else {}
    if name.endswith("LayerInstanceNormalization"):
        return {}
    if name == "TaskNormalization":
        return {
            "context_mean": np.zeros(channels),
            "context_variance": np.ones(channels),
            "context_size": np.array(0.0),
        }
    if name == "InstanceBatchNormalization":
        count = batch_channels(config, channels)
        return moving(count) if count else {}
    if name == "ModeNormalization":
        return moving(config.get("num_modes", 2), channels)
    if name == "MixtureNormalization":
        count = config.get("num_components", 3)
        return {
            "mixture_weight": np.full(count, 1 / count),
            "mixture_mean": np.zeros((count, channels)),
            "mixture_variance": np.ones((count, channels)),
            "initialized": np.array(0.0),
        }
    if name in OF_DOMAINS:
        return moving(config.get("num_domains", 2), channels)
    return moving(channels)


def mixture_weights(name, config, input_shape):
    """Shapes of the trainable weights."""
    channels = input_shape[config.get("axis", -1)]
    domains = config.get("num_domains", 2)
    rows, default = (), True
    if name == "ExemplarNormalization":
        rows = (len(config.get("normalizers", THREE)),)
    if name == "DomainSpecificOptimizedNormalization" or (
        name == "DomainSpecificBatchNormalization"
        and not config.get("shared_affine", False)
    ):
        rows = (domains,)
    if name == "DomainAlignmentNormalization":
        default = False
    weights = {}
    if name != "AdaptiveLayerInstanceNormalization":
        if config.get("scale", default):
            weights["gamma"] = (*rows, channels)
        if config.get("center", default):
            weights["beta"] = (*rows, channels)
    return {**weights, **_further(name, config, input_shape, channels)}


def _further(name, config, input_shape, channels):
    """What there is besides gamma and beta."""
    if name == "SparseSwitchableNormalization":
        count = len(normalizers_of(config, input_shape))
        return {"mean_weight": (count,), "variance_weight": (count,)}
    if name == "ExemplarNormalization":
        count = len(config.get("normalizers", THREE))
        features = max(channels // config.get("reduction", 32), 1)
        hidden = config.get("hidden_units", 16)
        return {
            "squeeze_kernel": (channels, features),
            "hidden_kernel": (count * count, hidden),
            "hidden_bias": (hidden,),
            "gate_kernel": (hidden, count),
            "gate_bias": (count,),
        }
    if name == "DynamicNormalization":
        return {"channel_gates": (prime_count(channels),), "batch_gate": ()}
    if name.endswith("InstanceNormalization"):
        return {"gate": (channels,)}
    if name == "TaskNormalization":
        return {"slope": (), "offset": ()}
    if name == "BatchChannelNormalization":
        size = (config.get("groups", 32),)
        if config.get("channel_affine", "group") == "channel":
            size = (channels,)
        weights = {}
        if config.get("scale", True):
            weights["group_gamma"] = size
        if config.get("center", True):
            weights["group_beta"] = size
        return weights
    if name == "ModeNormalization":
        modes = config.get("num_modes", 2)
        return {"gate_kernel": (channels, modes), "gate_bias": (modes,)}
    if name == "DomainAlignmentNormalization":
        return {"alpha": ()}
    if name == "DomainSpecificOptimizedNormalization":
        size = (config.get("num_domains", 2), 1 + (len(input_shape) > 2))
        if config.get("channelwise", False):
            size = (*size, channels)
        return {"mean_weight": size, "variance_weight": size}
    return {}


def prime_count(number):
    """Number of prime factors, with repetitions."""
    found, factor = 0, 2
    while number > 1:
        while number % factor == 0:
            found, number = found + 1, number // factor
        factor += 1
    return found
