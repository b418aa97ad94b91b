"""Matrix operations."""

import functools

from contract.method import Method


def whitening():
    row = functools.partial(
        Method,
        "IterativeNormalization",
        27,
        state=("moving_mean", "moving_matrix"),
        mixes=True,
    )
    return [
        row("4", {"group_size": 4}),
        # Groups of 3, 3 and 2.
        row("3", {"group_size": 3}, own_path=True),
        row("all", {"iterations": 3}),
    ]


ROWS = [*whitening()]
