"""Statistics whose backward pass keeps state of its own."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import WITNESS
from contract.method import Method


def online():
    controls = ("mean_control", "output_control", WITNESS)
    row = functools.partial(
        Method,
        "OnlineNormalization",
        61,
        state=MOMENTS,
        source="state",
        # A sample's statistics are those of the samples before it.
        sees_order=True,
        centres=False,
        counts=(),
    )
    kept = {"weights": (*AFFINE, *controls)}
    return [
        row(options={"alpha_forward": 0.9, "alpha_backward": 0.8}, **kept),
        row(
            "clamped",
            {
                "alpha_forward": 0.9,
                "error_compensation": "clamp",
                "clamp_value": 1.5,
            },
            **kept,
        ),
        row(
            "by batch",
            {
                "alpha_forward": 0.9,
                "error_compensation": None,
                "control": "batch",
            },
        ),
    ]


def power():
    row = functools.partial(
        Method,
        "PowerNormalization",
        62,
        weights=(*AFFINE, "mean_product", WITNESS),
        state=("moving_second_moment", "step"),
        centres=False,
        sees_padding=("mean_product",),
    )
    # Tests call with a step of 2.
    return [
        row(options={"groups": 2}, mixes=True, lone_channel=False),
        row("unscaled", {"group_scaling": False}, mixes=True),
        row(
            "after the warm-up",
            {"warmup_steps": 2},
            source="state",
            own_path=True,
        ),
        row(
            "exact",
            {"backward": "exact"},
            weights=AFFINE,
            mixes=True,
            own_path=True,
        ),
    ]


def moving_average():
    row = functools.partial(
        Method,
        "MovingAverageBatchNormalization",
        63,
        weights=(*AFFINE, "products", WITNESS),
        state=("moving_second_moment", "second_moments", "step"),
        mixes=True,
        centres=False,
    )
    return [
        row(options={"buffer_size": 2, "warmup_steps": 3, "renorm_start": 3}),
        row("of this batch"),
        row(
            "corrected",
            {
                "buffer_size": 2,
                "warmup_steps": 0,
                "renorm_start": 0,
                "renorm_clip": 1.05,
            },
        ),
    ]


ROWS = [*online(), *power(), *moving_average()]
