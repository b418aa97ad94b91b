"""What is done to the entries."""

import functools

from contract.method import AFFINE
from contract.method import Method


def scaling():
    rms = functools.partial(
        Method, "RMSNormalization", 14, weights=("scale",), centres=False
    )
    response = functools.partial(
        Method, "FilterResponseNormalization", 17, centres=False
    )
    affine = {"center": True, "scale": True}
    return [
        rms(twin="RMSNormalization"),
        rms("partial", {"partial": 0.5}, lone_channel=False, own_path=True),
        rms("outside", {"epsilon_outside": True}),
        rms("center", {"center": True}, weights=("scale", "beta")),
        rms("two axes", {"axis": (-2, -1)}, ranks=(3, 4)),
        Method("PixelNormalization", 15, weights=(), centres=False),
        Method("VarianceOnlyLayerNormalization", 16, weights=(), centres=False),
        Method(
            "VarianceOnlyLayerNormalization",
            16,
            "affine",
            affine,
            centres=False,
        ),
        response(),
        response(
            "learned epsilon",
            {"learn_epsilon": True},
            weights=(*AFFINE, "learned_epsilon"),
        ),
        response(
            "TLU", {"use_tlu": True}, weights=(*AFFINE, "tau"), own_path=True
        ),
        Method("TLU", 17, weights=("tau",), centres=False, mask="passes"),
        Method(
            "UnitNormalization",
            23,
            weights=(),
            centres=False,
            twin="UnitNormalization",
        ),
        Method(
            "UnitNormalization",
            23,
            "two axes",
            {"axis": (-2, -1)},
            weights=(),
            ranks=(3, 4),
            centres=False,
        ),
    ]


def robust_batch_normalization():
    lp = functools.partial(
        Method,
        "LpBatchNormalization",
        20,
        state=("moving_mean", "moving_deviation"),
        mixes=True,
    )
    # Order statistics: an entry of weight 2 is still one entry.
    once = {"counts": ()}
    range_ = functools.partial(
        Method,
        "RangeBatchNormalization",
        21,
        state=("moving_mean", "moving_deviation"),
        mixes=True,
        **once,
    )
    generalized = functools.partial(
        Method,
        "GeneralizedBatchNormalization",
        22,
        state=("moving_center", "moving_deviation"),
        mixes=True,
    )
    return [
        Method(
            "MeanOnlyBatchNormalization",
            18,
            scales=False,
            weights=("beta",),
            state=("moving_mean",),
            mixes=True,
        ),
        Method(
            "ScaleOnlyBatchNormalization",
            19,
            state=("moving_second_moment",),
            mixes=True,
            centres=False,
        ),
        Method(
            "ScaleOnlyBatchNormalization",
            19,
            "centred",
            {"centered_variance": True},
            state=("moving_variance",),
            mixes=True,
            centres=False,
        ),
        lp("1", {"p": 1}),
        lp("2", {"p": 2}),
        lp("3", {"p": 3}),
        lp("half", {"p": 1.5, "gaussian_correction": False}),
        lp("inf", {"p": "inf"}, own_path=True, **once),
        lp("top 3", {"p": "inf", "top_k": 3}, **once),
        lp(
            "top 3 plain",
            {"p": "inf", "top_k": 3, "gaussian_correction": False},
            **once,
        ),
        range_("", {"num_chunks": 4}),
        range_("paper", {"num_chunks": 4, "scale_fix": "paper"}),
        # 72 entries in chunks of 11, the last of 6; 30 in chunks of 5.
        range_("uneven", {"num_chunks": 7}, ranks=(3, 4, 5)),
        *(
            generalized(
                kind,
                {"deviation": kind},
                **({} if kind in ("std", "rsd", "lsd") else once),
                own_path=kind == "mad",
            )
            for kind in ("std", "mad", "range", "rsd", "lsd", "sqd", "wcd")
        ),
    ]


def evonorm():
    b = functools.partial(
        Method,
        "EvoNorm",
        24,
        state=("moving_variance",),
        mixes=True,
        centres=False,
    )
    s = functools.partial(
        Method, "EvoNorm", 24, centres=False, lone_channel=False
    )
    v = {"weights": (*AFFINE, "v")}
    return [
        b("B0", {"variant": "B0"}, **v),
        b("B1", {"variant": "B1"}),
        b("B2", {"variant": "B2"}),
        b(
            "B0 unbiased",
            {"variant": "B0", "unbiased_moving_variance": True},
            **v,
        ),
        s("S0", {"variant": "S0", "groups": 2}, own_path=True, **v),
        s("S1", {"variant": "S1", "groups": 2}),
        s("S2", {"variant": "S2", "groups": 2}),
        s(
            "linear",
            {"variant": "S1", "groups": 2, "nonlinearity": False},
            mask="passes",
        ),
    ]


ROWS = [*scaling(), *robust_batch_normalization(), *evonorm()]
