"""Initial state and weight shapes of the layers of chapter recovery."""

import math

import numpy as np

# Layers that have (or by their area may have) moving averages.
BATCH = {
    "SelfModulatedBatchNormalization": "batch",
    "InstanceEnhancementBatchNormalization": "batch",
    "InstanceLevelMetaNormalization": "group",
    "SpatiallyAdaptiveNormalization": "batch",
    "AttentiveNormalization": "batch",
}
FILTERS = (
    "DynamicInstanceNormalization",
    "AdaptiveConvolutionNormalization",
)
NAMES = (
    "AdaNormalization",
    "ConditionalInstanceNormalization",
    "DynamicLayerNormalization",
    "SemanticAttentiveNormalization",
    "RegionNormalization",
    "LearnableRegionNormalization",
    *BATCH,
    *FILTERS,
)


def moving(size, prefix=""):
    """A mean of 0 and a variance of 1."""
    return {
        f"{prefix}moving_mean": np.zeros(size),
        f"{prefix}moving_variance": np.ones(size),
    }


def recovery_state(name, config, input_shape):
    """State of a freshly built layer."""
    state = {}
    if config.get("area", BATCH.get(name)) == "batch" and name in BATCH:
        state = moving(input_shape[config.get("axis", -1)])
    if name == "AttentiveNormalization":
        if config.get("attention_normalization", "batch") == "batch":
            rows = config.get("num_mixtures", 5)
            state = {**state, **moving(rows, "attention_")}
    return state


def embedding_size(area, keys, reduction):
    """Units of the shared layer of instance-level meta normalization."""
    equal = area not in ("instance", "layer")
    if keys > reduction or (equal and keys == reduction):
        return keys // reduction
    return 2


def features_of(shape, axis):
    """Channels of a second input: a map has them where the first has."""
    return shape[axis if len(shape) > 2 else -1]


def sizes_of(config, name, rank):
    """The size of a kernel along every axis of positions."""
    usual = {
        "DynamicInstanceNormalization": 1,
        "LearnableRegionNormalization": 7,
    }
    size = config.get("kernel_size", usual.get(name, 3))
    return (size,) * (rank - 2) if isinstance(size, int) else tuple(size)


def filter_size(name, config, channels, rank):
    """Numbers in the filters of one sample."""
    return channels * math.prod(
        (*sizes_of(config, name, rank), width_of(name, config, channels))
    )


def width_of(name, config, channels):
    """How many input channels an output channel sees."""
    if name == "AdaptiveConvolutionNormalization":
        return 1 if config.get("depthwise", True) else channels
    return channels // (config.get("groups") or channels)


def recovery_weights(name, config, input_shapes):
    """Shapes of the trainable weights, in order."""
    axis, shape = config.get("axis", -1), input_shapes[0]
    pair = {"gamma": "scale", "beta": "center"}
    named = [k for k, wanted in pair.items() if config.get(wanted, True)]
    if name == "AdaNormalization":
        return {}
    channels = shape[axis]
    size = (channels,)
    if name == "ConditionalInstanceNormalization":
        return {key: (config["num_classes"], channels) for key in named}
    if name == "InstanceEnhancementBatchNormalization":
        own = ("enhancement_weight", "enhancement_bias")
        return {key: size for key in (*named, *own)}
    if name == "RegionNormalization":
        return {key: (2, channels) for key in pair}
    if name == "AttentiveNormalization":
        return _attentive_weights(config, channels, named)
    if name == "InstanceLevelMetaNormalization":
        keys = channels // config.get("key_group_size", 16)
        units = embedding_size(
            config.get("area", "group"), keys, config.get("reduction", 16)
        )
        weights = {key: size for key in named}
        weights["embedding_kernel"] = (keys, units)
        return {**weights, **{f"{key}_kernel": (units, keys) for key in named}}
    if name == "SemanticAttentiveNormalization":
        return _semantic_weights(config, channels)
    sizes = sizes_of(config, name, len(shape))
    if name == "LearnableRegionNormalization":
        maps = {f"{key}_kernel": (*sizes, 1, 1) for key in pair}
        return {
            "region_kernel": (*sizes, 2, 1),
            "gamma_kernel": maps["gamma_kernel"],
            "gamma_bias": (1,),
            "beta_kernel": maps["beta_kernel"],
            "beta_bias": (1,),
        }
    if name == "SpatiallyAdaptiveNormalization":
        hidden = config.get("hidden_filters", 128)
        seen = features_of(input_shapes[1], axis)
        weights = {
            "hidden_kernel": (*sizes, seen, hidden),
            "hidden_bias": (hidden,),
        }
        for key in named:
            weights[f"{key}_kernel"] = (*sizes, hidden, channels)
            weights[f"{key}_bias"] = size
        return weights

    # Dense layers on a vector for every sample.
    units = features_of(input_shapes[-1], axis)
    weights = {}
    if name == "DynamicLayerNormalization":
        summary = config.get("summary_units", 64)
        weights["summary_kernel"] = (units, summary)
        weights["summary_bias"] = (summary,)
        units = summary
    hidden = config.get("hidden_units", 32 if name in BATCH else None)
    if hidden:
        weights["hidden_kernel"] = (units, hidden)
        weights["hidden_bias"] = (hidden,)
        units = hidden
    if name in FILTERS:
        results = {
            "filter": filter_size(name, config, channels, len(shape)),
            "offset": channels,
        }
    else:
        results = {key: channels for key in named}
    for key, count in results.items():
        weights[f"{key}_kernel"] = (units, count)
        weights[f"{key}_bias"] = (count,)
    return weights


def _attentive_weights(config, channels, named):
    """Tables of gamma and beta, the map to their shares, its affine."""
    rows = config.get("num_mixtures", 5)
    weights = {key: (rows, channels) for key in named}
    weights["attention_kernel"] = (channels, rows)
    if config.get("attention_normalization", "batch") is None:
        return {**weights, "attention_bias": (rows,)}
    own = ("attention_gamma", "attention_beta")
    return {**weights, **{key: (rows,) for key in own}}


def _semantic_weights(config, channels):
    """Three maps of the channels, the entities and two gains."""
    entities = config.get("num_entities", 16)
    inner = max(channels // 8, 1)
    weights = {}
    for key, units in (("key", inner), ("query", inner), ("value", channels)):
        weights[f"{key}_kernel"] = (channels, units)
        weights[f"{key}_bias"] = (units,)
    weights["entity_kernel"] = (channels, entities)
    return {**weights, "alpha": (entities,), "gain": ()}
