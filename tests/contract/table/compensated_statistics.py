"""Statistics of other batches, layers or parts, brought up to date.

`ROWS` are those of the contract's table. Those `OUTSIDE` of it promise less or
more: kernels computed in half precision, statistics as outputs. What they
promise all the same tests/layers/statistics asks of them, by the tests of the
contract.
"""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method
from contract.method import convolved
from contract.method import mapped

KERNEL = ("kernel", *AFFINE)
STEPPED = (*MOMENTS, "step")
WINDOW = tuple(
    f"window_{name}" for name in ("weight", "mean", "mean_rest", "variance")
)
OF_KERNEL = tuple(
    f"window_{name}"
    for name in (
        "weight",
        "variance",
        "kernel",
        "covariance",
        "patch",
        "patch_rest",
    )
)


def cross_iteration():
    # The state of the formulas is another one, of raw second moments: whole
    # sequences of steps are compared in tests/layers/statistics.
    row = functools.partial(
        Method,
        "CrossIterationBatchNormalization",
        66,
        mixes=True,
        oracle=False,
    )
    small = {"window_size": 3}
    one = {"window_size": 1, "epsilon_placement": "inside"}
    return [
        # The mean of a window is not that of the batch.
        row("", small, state=(*STEPPED, *WINDOW), centres=False),
        row("one batch", one, state=STEPPED, own_path=True),
    ]


def cross_iteration_kernels():
    row = functools.partial(
        Method,
        number=66,
        weights=KERNEL,
        state=(*STEPPED, *OF_KERNEL),
        mixes=True,
        oracle=False,
        centres=False,
    )
    convolution = functools.partial(
        row, "CrossIterationConv2D", ranks=(4,), mask="refuses", whole=True
    )
    valid = {"filters": 6, "kernel_size": 3, "window_size": 3}
    strided = {**valid, "padding": "same", "strides": 2, "groups": 2}
    dense = {"units": 5, "window_size": 3}
    return [
        convolution(options=valid, result=convolved(valid)),
        convolution(
            label="strided", options=strided, result=convolved(strided)
        ),
        row("CrossIterationDense", options=dense, result=mapped(5)),
    ]


def fine_grained():
    row = functools.partial(
        Method,
        "FineGrainedBatchNormalization",
        71,
        state=MOMENTS,
        mixes=True,
    )
    # With an axis among the options: results have other shapes than inputs.
    two = {"groups": 2, "axis": -1}
    named = "FineGrainedBatchNormalization"
    return [
        row(
            "",
            two,
            result=mapped(4),
            lone_channel=False,
            oracle=(named, two),
        ),
        row("one", {"groups": 1}, oracle=(named, {"groups": 1})),
    ]


def fine_grained_convolutions():
    def row(label, options):
        return Method(
            "FineGrainedConv2D",
            71,
            label,
            options,
            weights=KERNEL,
            state=MOMENTS,
            ranks=(4,),
            mixes=True,
            mask="refuses",
            whole=True,
            centres=False,
            result=convolved(options),
            oracle=("FineGrainedConv2D", options),
        )

    strided = {"padding": "same", "groups": 4, "strides": 2}
    return [
        row("", {"filters": 6, "kernel_size": 3, "groups": 2}),
        row("strided", {"filters": 6, "kernel_size": (3, 2), **strided}),
    ]


def kalman():
    row = functools.partial(
        Method,
        "KalmanNormalization",
        67,
        state=MOMENTS,
        mixes=True,
        outputs=3,
    )
    learned = {"learn_keep": True, "max_ratio": 50.0}
    return [
        row(),
        row("learned", learned, weights=(*AFFINE, "keep")),
    ]


ROWS = [*cross_iteration(), *fine_grained()]
OUTSIDE = [
    *cross_iteration_kernels(),
    *fine_grained_convolutions(),
    *kalman(),
]
