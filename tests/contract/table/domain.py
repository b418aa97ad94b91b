"""Statistics of domains."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method


def domains():
    row = functools.partial(
        Method,
        optional=True,
        state=MOMENTS,
        mixes=True,
    )
    specific = functools.partial(row, "DomainSpecificBatchNormalization", 73)
    # A sample of weight 2 has twice the entries, not a twin.
    optimized = functools.partial(
        row,
        "DomainSpecificOptimizedNormalization",
        76,
        weights=(*AFFINE, "mean_weight", "variance_weight"),
        counts=("steps",),
    )
    two = {"conditions": ("two labels",), "spared": True}
    return [
        # The fourth is always absent.
        specific("labels", {"num_domains": 4}, ("labels",)),
        specific(
            "weights",
            {
                "num_domains": 3,
                "shared_affine": True,
                "unbiased_moving_variance": True,
            },
            ("soft labels",),
        ),
        row(
            "DomainAlignmentNormalization",
            74,
            options={"center": True, "scale": True},
            weights=(*AFFINE, "alpha"),
            **two,
        ),
        row("TransferableNormalization", 75, **two),
        optimized(
            "channels",
            {"num_domains": 4, "channelwise": True},
            ("labels",),
        ),
        optimized("weights", {"num_domains": 3}, ("soft labels",)),
    ]


def adapter():
    return Method(
        "CovarianceNormalization",
        77,
        options={"input_components": 3, "output_components": 5},
        weights=("kernel",),
        held=("input_mean", "whitening", "coloring", "output_mean"),
        centres=False,
        scales=False,
        # What the fit finds: the formula does not know the sizes.
        oracle=("CovarianceNormalization", {}),
    )


ROWS = [*domains(), adapter()]
