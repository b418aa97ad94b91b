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


ROWS = [*mixtures()]
