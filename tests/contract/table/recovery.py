"""What is put back."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method

MAPS = ("gamma_kernel", "gamma_bias", "beta_kernel", "beta_bias")


def recovery():
    conditional = functools.partial(
        Method,
        "ConditionalBatchNormalization",
        36,
        weights=(*AFFINE, "projection"),
        state=MOMENTS,
        mixes=True,
    )
    adaptive = functools.partial(
        Method, "AdaptiveInstanceNormalization", 38, weights=()
    )
    dense = {"conditions": ("features",), "weights": ("kernel", "bias")}
    return [
        conditional(conditions=("features",)),
        conditional(
            "labels",
            {"num_classes": 3},
            conditions=("labels",),
            own_path=True,
        ),
        conditional(
            "soft labels", {"num_classes": 3}, conditions=("soft labels",)
        ),
        conditional(
            "hidden",
            {"hidden_units": 5, "unbiased_moving_variance": True},
            conditions=("features",),
            weights=(*AFFINE, "hidden_kernel", "hidden_bias", "projection"),
        ),
        adaptive(
            "style", {"variant": "style"}, conditions=("style",), centres=False
        ),
        adaptive(
            "half style",
            {"variant": "style", "alpha": 0.5, "unbiased": True},
            conditions=("style",),
            centres=False,
            # A sample of weight 2 has twice the entries, not a twin.
            counts=("steps",),
        ),
        adaptive(
            "generated",
            {"variant": "generated"},
            conditions=("per channel", "per channel"),
            centres=False,
            own_path=True,
        ),
        adaptive(
            "dense",
            {"variant": "dense"},
            centres=False,
            own_path=True,
            **dense,
        ),
        adaptive(
            "dense plain",
            {"variant": "dense", "equalized_learning_rate": False},
            centres=False,
            **dense,
        ),
    ]


def from_conditions():
    return [
        Method(
            "ConditionalInstanceNormalization",
            37,
            options={"num_classes": 3},
            conditions=("soft labels",),
        ),
        Method(
            "ConditionalInstanceNormalization",
            37,
            "labels",
            {"num_classes": 3},
            conditions=("labels",),
        ),
        Method(
            "SelfModulatedBatchNormalization",
            40,
            options={"hidden_units": 5},
            conditions=("features",),
            weights=("hidden_kernel", "hidden_bias", *MAPS),
            state=MOMENTS,
            mixes=True,
        ),
    ]


def from_the_input():
    enhanced = functools.partial(
        Method,
        "InstanceLevelMetaNormalization",
        41,
        weights=(*AFFINE, "embedding_kernel", "gamma_kernel", "beta_kernel"),
        centres=False,
        # A sample of weight 2 has twice the entries, not a twin.
        counts=("steps",),
    )
    keys = {"key_group_size": 2, "reduction": 2}
    attentive = functools.partial(
        Method, "AttentiveNormalization", 44, centres=False, counts=("steps",)
    )
    attention = (*AFFINE, "attention_kernel")
    return [
        Method("AdaNormalization", 35, weights=()),
        Method(
            "AdaNormalization",
            35,
            "axes",
            {"axis": (1, -1)},
            weights=(),
            ranks=(3, 4, 5),
        ),
        Method(
            "DynamicLayerNormalization",
            39,
            options={"summary_units": 5},
            weights=("summary_kernel", "summary_bias", *MAPS),
            centres=False,
        ),
        enhanced(options={"groups": 2, **keys}, lone_channel=False),
        enhanced(
            "batch",
            {"area": "batch", **keys},
            state=MOMENTS,
            mixes=True,
            lone_channel=False,
        ),
        Method(
            "InstanceEnhancementBatchNormalization",
            43,
            weights=(*AFFINE, "enhancement_weight", "enhancement_bias"),
            state=MOMENTS,
            mixes=True,
        ),
        attentive(
            options={"num_mixtures": 3},
            weights=(*attention, "attention_gamma", "attention_beta"),
            state=(
                *MOMENTS,
                "attention_moving_mean",
                "attention_moving_variance",
            ),
            mixes=True,
        ),
        attentive(
            "group",
            {
                "num_mixtures": 3,
                "area": "group",
                "groups": 2,
                "attention_activation": "sigmoid",
                "attention_normalization": None,
            },
            weights=(*attention, "attention_bias"),
            lone_channel=False,
        ),
        attentive(
            "instance",
            {
                "num_mixtures": 3,
                "area": "instance",
                "attention_activation": "softmax",
                "attention_normalization": "layer",
            },
            weights=(*attention, "attention_gamma", "attention_beta"),
        ),
    ]


def spatial():
    maps = ("hidden", "gamma", "beta")
    of_maps = tuple(f"{m}_{part}" for m in maps for part in ("kernel", "bias"))
    row = functools.partial(
        Method,
        "SpatiallyAdaptiveNormalization",
        42,
        conditions=("layout",),
        weights=of_maps,
        # Steps cut out of the first input alone lie elsewhere on the map.
        ranks=(4, 5),
        counts=("samples",),
        centres=False,
    )
    return [
        row(options={"hidden_filters": 5}, state=MOMENTS, mixes=True),
        row(
            "bilinear",
            {
                "area": "group",
                "groups": 2,
                "hidden_filters": 5,
                "interpolation": "bilinear",
            },
            own_path=True,
            lone_channel=False,
        ),
    ]


def generated_filters():
    weights = ("filter_kernel", "filter_bias", "offset_kernel", "offset_bias")
    hidden = ("hidden_kernel", "hidden_bias")
    dynamic = functools.partial(
        Method,
        "DynamicInstanceNormalization",
        45,
        ranks=(3, 4, 5),
        centres=False,
    )
    adaptive = functools.partial(
        Method,
        "AdaptiveConvolutionNormalization",
        46,
        weights=weights,
        ranks=(3, 4, 5),
        centres=False,
    )
    return [
        dynamic(
            options={"kernel_size": 2, "groups": 4, "hidden_units": 5},
            conditions=("layout",),
            weights=(*hidden, *weights),
            counts=("samples",),
            lone_channel=False,
        ),
        dynamic("folded", conditions=("features",), weights=weights),
        adaptive(conditions=("layout",)),
        adaptive(
            "mixing",
            {"depthwise": False, "kernel_size": 2},
            conditions=("features",),
            own_path=True,
        ),
    ]


def semantic():
    names = ("key", "query", "value")
    return Method(
        "SemanticAttentiveNormalization",
        47,
        options={"num_entities": 3, "seed": 7},
        weights=(
            *(f"{n}_{part}" for n in names for part in ("kernel", "bias")),
            "entity_kernel",
            "alpha",
            "gain",
        ),
        ranks=(3, 4, 5),
        centres=False,
        # tests/layers/recovery: at given positions, compiled steps.
        draws=True,
        oracle=False,
    )


ROWS = [
    *recovery(),
    *from_conditions(),
    *from_the_input(),
    *spatial(),
    *generated_filters(),
    semantic(),
]
