"""Which entries share statistics."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method


def batch_normalization():
    row = functools.partial(
        Method, "BatchNormalization", 1, state=MOMENTS, mixes=True
    )
    renormed = (*MOMENTS, "moving_stddev", "renorm_mean", "renorm_stddev")
    clipping = {"rmin": 0.6, "rmax": 1.5, "dmax": 0.3}
    return [
        row(twin="BatchNormalization"),
        row("unbiased", {"unbiased_moving_variance": True, "momentum": 0.5}),
        row("plain", {"center": False, "scale": False}, weights=()),
        row("synchronized", {"synchronized": True}),
        row(
            "renorm",
            {"renorm": True, "renorm_momentum": 0.8},
            state=renormed,
            centres=False,
            own_path=True,
        ),
        row(
            "renorm clipped",
            {"renorm": True, "renorm_clipping": clipping},
            state=renormed,
            centres=False,
        ),
    ]


def layer_normalization():
    row = functools.partial(Method, "LayerNormalization", 2)
    return [
        row(twin="LayerNormalization"),
        row("two axes", {"axis": (-2, -1)}, ranks=(3, 4)),
        row(
            "all axes",
            {"axis": (1, 2, 3), "param_axis": -1},
            ranks=(4,),
            own_path=True,
        ),
        row("plain", {"center": False, "scale": False}, weights=()),
        row(
            "rms scaling",
            {"rms_scaling": True},
            weights=("gamma",),
            centres=False,
            mask="passes",
            oracle=(
                "VarianceOnlyLayerNormalization",
                {"epsilon": 1e-3, "scale": True},
            ),
        ),
    ]


def instance_and_group_normalization():
    group = functools.partial(Method, "GroupNormalization", 4)
    return [
        Method("InstanceNormalization", 3),
        Method(
            "InstanceNormalization",
            3,
            "plain",
            {"center": False, "scale": False},
            weights=(),
        ),
        group(
            "2", {"groups": 2}, twin="GroupNormalization", lone_channel=False
        ),
        group("each", {"groups": -1}),
        group("one", {"groups": 1}),
    ]


def positional_normalization():
    row = functools.partial(Method, "PositionalNormalization", 5)
    return [
        row(weights=()),
        row(
            "affine",
            {"center": True, "scale": True, "unbiased": False},
        ),
        row("moments", {"return_moments": True}, weights=(), outputs=3),
        Method(
            "MomentShortcut",
            5,
            conditions=("moments", "moments"),
            weights=(),
            centres=False,
        ),
    ]


def batch_group_normalization():
    row = functools.partial(
        Method,
        "BatchGroupNormalization",
        6,
        state=MOMENTS,
        mixes=True,
        lone_channel=False,
    )
    return [
        row("2", {"groups": 2}),
        row(
            "2 of 2",
            {"groups": 2, "batch_groups": 2},
            sees_order=True,
            own_path=True,
        ),
        # Parts of two samples, the last of none.
        row("4 of 4", {"groups": 4, "batch_groups": 4}, sees_order=True),
        row("flat", {"groups": 2, "mode": "flat"}, own_path=True),
        row(
            "flat 2 of 2",
            {"groups": 2, "batch_groups": 2, "mode": "flat"},
            sees_order=True,
        ),
        row(
            "unbiased",
            {
                "groups": 2,
                "batch_groups": 2,
                "unbiased_moving_variance": True,
            },
            sees_order=True,
        ),
    ]


def windows():
    contrast = functools.partial(
        Method,
        "LocalContrastNormalization",
        8,
        weights=(),
        ranks=(3, 4, 5),
        counts=(),
    )
    size = {"kernel_size": 3}
    response = functools.partial(
        Method,
        "LocalResponseNormalization",
        9,
        weights=(),
        centres=False,
    )
    divisive = functools.partial(
        Method,
        "DivisiveNormalization",
        10,
        weights=(*AFFINE, "sigma"),
        ranks=(2, 3, 4),
        counts=(),
    )
    fields = {"sum_window": 3, "sup_window": 3}
    context = functools.partial(
        Method,
        "LocalContextNormalization",
        12,
        ranks=(2, 3, 4),
        counts=(),
        lone_channel=False,
    )
    window = {"channels_per_group": 4, "window_size": 3}
    return [
        contrast("", size),
        contrast("box", {**size, "kernel": "box"}),
        contrast("each channel", {**size, "across_channels": False}),
        contrast("floor", {**size, "floor": 0.5}),
        contrast("floor value", {**size, "floor": 0.8, "floor_value": 1.0}),
        # Zeros outside the image: the mean of a constant is not the constant.
        contrast(
            "zero", {**size, "border": "zero"}, centres=False, own_path=True
        ),
        contrast("torch7", {**size, "border": "torch7"}),
        response(),
        response("each", {"alpha_per_element": True, "alpha": 0.5}),
        response("even", {"size": 4, "alpha": 0.3}),
        divisive("", fields, centres=False),
        divisive(
            "renormalize", {**fields, "border": "renormalize"}, own_path=True
        ),
        divisive(
            "channel window",
            {**fields, "channel_window": 3},
            centres=False,
            ranks=(3, 4),
        ),
        divisive(
            "fixed sigma",
            {**fields, "learn_sigma": False, "sigma_initializer": 0.75},
            weights=AFFINE,
            constants=("sigma",),
            centres=False,
        ),
        divisive("l1", {**fields, "l1": 0.01}, centres=False),
        context("", window),
        context("whole image", {"channels_per_group": 4}),
        context("compat", {**window, "compat": True}, ranks=(4,)),
    ]


def generalized_divisive_normalization():
    row = functools.partial(
        Method,
        "GeneralizedDivisiveNormalization",
        11,
        weights=("beta", "gamma"),
        centres=False,
    )
    return [
        row("gdn", {"variant": "gdn"}),
        row("inverse gdn", {"variant": "gdn", "inverse": True}),
        row("gdn1", {"variant": "gdn1"}),
        row("inverse gdn1", {"variant": "gdn1", "inverse": True}),
        row("neuroscience", {"variant": "neuroscience"}),
        row("exponent", {"variant": "neuroscience", "exponent": 1.5}),
    ]


def regions():
    row = functools.partial(
        Method,
        "RegionNormalization",
        13,
        conditions=("region",),
        # Steps cut out of the first input alone lie elsewhere in the region.
        ranks=(4, 5),
        mask="statistics",
        counts=("samples",),
        mixes=True,
    )
    maps = ("gamma_kernel", "gamma_bias", "beta_kernel", "beta_bias")
    learnable = functools.partial(
        Method,
        "LearnableRegionNormalization",
        13,
        weights=("region_kernel", *maps),
        ranks=(3, 4, 5),
        mask="statistics",
        counts=("samples",),
        centres=False,
    )
    return [
        row(),
        row("instance", {"area": "instance", "masked_beta": True}, mixes=False),
        learnable(options={"threshold": 0.5, "kernel_size": 3}, mixes=True),
        learnable("instance", {"threshold": 0.5, "area": "instance"}),
    ]


ROWS = [
    *batch_normalization(),
    *layer_normalization(),
    *instance_and_group_normalization(),
    *positional_normalization(),
    *batch_group_normalization(),
    *windows(),
    *generalized_divisive_normalization(),
    *regions(),
]
