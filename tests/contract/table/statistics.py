"""Where the numbers come from."""

import functools

from contract.method import AFFINE
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


def ghost():
    row = functools.partial(
        Method,
        "GhostBatchNormalization",
        7,
        state=MOMENTS,
        mixes=True,
        sees_order=True,
    )
    # Of the six samples of the tests two are left for the last ghost.
    return [
        row(options={"virtual_batch_size": 4}),
        row("mean", {"virtual_batch_size": 4, "update": "mean"}),
        row("whole", {"virtual_batch_size": 8}),
    ]


def renorm():
    row = functools.partial(
        Method,
        "BatchRenormalization",
        59,
        held=("rmax", "dmax"),
        state=("moving_mean", "moving_stddev"),
        mixes=True,
        centres=False,
    )
    return [
        row(options={"rmax": 1.1, "dmax": 0.1}),
        # Not clipped by the data of the tests: it normalizes by its state.
        row("renorm"),
    ]


def full():
    row = functools.partial(
        Method,
        "FullNormalization",
        60,
        state=(*MOMENTS, "step"),
        mixes=True,
        centres=False,
    )
    return [row(), row("fixed", {"momentum": 0.7})]


def momentum():
    return [
        Method(
            "MomentumBatchNormalization",
            64,
            held=("training_momentum", "moving_momentum"),
            state=("training_mean", "training_variance", *MOMENTS),
            mixes=True,
            centres=False,
        )
    ]


def memorized():
    return [
        Method(
            "MemorizedBatchNormalization",
            65,
            state=("memory_mean", "memory_variance", "count"),
            mixes=True,
            centres=False,
        )
    ]


def stochastic():
    # What is sampled is tested with the layer.
    return [
        Method(
            "StochasticBatchNormalization",
            69,
            options={"inference": "moving"},
            state=(
                "moving_mean",
                "moving_squared_mean",
                "moving_log_variance",
                "moving_squared_log_variance",
            ),
            mixes=True,
        )
    ]


def switchable():
    row = functools.partial(
        Method,
        "SwitchableBatchNormalization",
        70,
        state=MOMENTS,
        mixes=True,
        lone_channel=False,
    )
    return [
        # Its beta is a row of a table.
        row(options={"widths": (4, 8)}, centres=False),
        row("shared", {"widths": (4, 8), "shared_affine": True}),
    ]


def frozen():
    return [
        Method(
            "FrozenBatchNormalization",
            72,
            weights=(),
            held=(*AFFINE, *MOMENTS),
            centres=False,
            scales=False,
        )
    ]


ROWS = [
    *population(),
    *ghost(),
    *renorm(),
    *full(),
    *momentum(),
    *memorized(),
    *stochastic(),
    *switchable(),
    *frozen(),
]
