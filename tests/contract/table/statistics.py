"""Where the numbers come from."""

import functools

from contract.method import MOMENTS
from contract.method import Method


def population():
    row = functools.partial(
        Method,
        "PopulationBatchNormalization",
        60,
        state=(*MOMENTS, "step"),
        mixes=True,
        centres=False,
    )
    return [
        row(),
        row("half", {"weight": 0.5}),
        row("diminishing", {"weight": "diminishing"}, own_path=True),
        row("dinh", {"weight": 0.3, "bias_correction": "dinh"}),
        row("constant", {"gradient": "none"}, source="moved"),
    ]


ROWS = [*population()]
