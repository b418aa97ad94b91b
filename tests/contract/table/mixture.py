"""Several normalizations in one."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method


def mixtures():
    row = functools.partial(
        Method,
        "SwitchableNormalization",
        48,
        weights=(*AFFINE, "mean_weight", "variance_weight"),
        state=MOMENTS,
        mixes=True,
    )
    return [
        # A sample of weight 2 has twice the entries, not a twin.
        row(counts=("steps",)),
        row("biased", {"unbiased": False}),
        row(
            "without batch",
            {"normalizers": ("instance", "layer")},
            state=(),
            mixes=False,
            counts=("steps",),
        ),
        row("two", {"normalizers": ("layer", "batch")}, counts=("steps",)),
    ]


def sparse():
    return Method(
        "SparseSwitchableNormalization",
        49,
        weights=(*AFFINE, "mean_weight", "variance_weight"),
        # The choices move when a radius is large enough.
        held=("radius", "mean_chosen", "variance_chosen"),
        state=MOMENTS,
        mixes=True,
        counts=("steps",),
    )


def exemplar():
    return Method(
        "ExemplarNormalization",
        50,
        options={"reduction": 2},
        weights=(
            *AFFINE,
            "squeeze_kernel",
            "hidden_kernel",
            "hidden_bias",
            "gate_kernel",
            "gate_bias",
        ),
        state=MOMENTS,
        ranks=(3, 4, 5),
        # The shares of the betas depend on the sample.
        centres=False,
        mixes=True,
    )


def dynamic():
    row = functools.partial(
        Method,
        "DynamicNormalization",
        51,
        weights=(*AFFINE, "channel_gates", "batch_gate"),
        state=MOMENTS,
        ranks=(3, 4, 5),
    )
    return [
        # Nothing random: it would differ between dtypes.
        row(options={"initial": "batch"}, mixes=True),
        row("layer", {"initial": "layer"}),
    ]


def batch_instance():
    return Method(
        "BatchInstanceNormalization",
        52,
        weights=(*AFFINE, "gate"),
        state=MOMENTS,
        ranks=(3, 4, 5),
        mixes=True,
    )


def layer_instance():
    adaptive = functools.partial(
        Method,
        "AdaptiveLayerInstanceNormalization",
        53,
        conditions=("per channel", "per channel"),
        weights=("gate",),
        ranks=(3, 4, 5),
        centres=False,
    )
    plain = functools.partial(
        Method,
        "LayerInstanceNormalization",
        53,
        weights=(*AFFINE, "gate"),
        ranks=(3, 4, 5),
    )
    return [
        # A sample of weight 2 has twice the entries, not a twin.
        adaptive(options={"unbiased": True}, counts=("steps",)),
        adaptive("biased"),
        plain(),
        plain("unbiased", {"unbiased": True}, counts=("steps",)),
    ]


def task():
    row = functools.partial(
        Method,
        "TaskNormalization",
        54,
        weights=(*AFFINE, "slope", "offset"),
        state=("context_mean", "context_variance", "context_size"),
        mixes=True,
        # As often as it counts, it is one sample of the context.
        counts=("steps",),
    )
    # With a context: tests/layers.
    return [
        row(ranks=(3, 4, 5)),
        row("layer", {"augment": "layer"}),
        row("biased", {"unbiased": False}, ranks=(3, 4, 5)),
    ]


def instance_batch():
    row = functools.partial(
        Method, "InstanceBatchNormalization", 55, ranks=(3, 4, 5)
    )
    return [
        row(options={"ratio": 0.3}, state=MOMENTS, mixes=True, keeping=7),
        row("b", {"variant": "b"}),
    ]


def batch_channel():
    row = functools.partial(
        Method,
        "BatchChannelNormalization",
        56,
        weights=(*AFFINE, "group_gamma", "group_beta"),
        state=MOMENTS,
        mixes=True,
        # The betas of a group's channels differ.
        centres=False,
        lone_channel=False,
    )
    return [
        row(options={"groups": 4}),
        row(
            "estimate",
            {"groups": 2, "estimate": True, "channel_affine": "channel"},
            source="moved",
            own_path=True,
        ),
    ]


def modes():
    return Method(
        "ModeNormalization",
        57,
        weights=(*AFFINE, "gate_kernel", "gate_bias"),
        state=MOMENTS,
        mixes=True,
    )


def gaussian_mixture():
    # Starts from what it keeps; its own start: tests/layers.
    return Method(
        "MixtureNormalization",
        58,
        options={"num_components": 2, "seed": 0},
        state=(
            "mixture_weight",
            "mixture_mean",
            "mixture_variance",
            "initialized",
        ),
        mixes=True,
    )


ROWS = [
    *mixtures(),
    sparse(),
    exemplar(),
    *dynamic(),
    batch_instance(),
    *layer_instance(),
    *task(),
    *instance_batch(),
    *batch_channel(),
    modes(),
    gaussian_mixture(),
]
