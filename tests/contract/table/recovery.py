"""What is put back."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method


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


ROWS = [*recovery()]
