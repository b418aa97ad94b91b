"""Layers with a kernel of their own, and centering by the running mean."""

import functools

from contract.method import Method
from contract.method import convolved
from contract.method import mapped

ROWS_STATE = ("moving_mean", "moving_matrix")
KERNEL = ("kernel", "bias")
# Fewer outputs than inputs: a kernel applied the wrong way does not fit.
UNITS = {"units": 5}


def convolutions():
    def row(label, options, **rest):
        options = {"filters": 6, "kernel_size": 3, **options}
        return Method(
            "DeconvolutionConv2D",
            29,
            label,
            options,
            weights=rest.pop("weights", KERNEL),
            state=ROWS_STATE,
            ranks=(4,),
            mixes=True,
            result=convolved(options),
            **rest,
        )

    every = {"sampling_stride": 1}
    # Zeros of the padding are entries like others: nothing is constant.
    same = {"padding": "same", **every}
    return [
        row("", every),
        row(
            "same",
            {"padding": "same", "sampling_stride": 2},
            centres=False,
        ),
        row(
            "strided",
            {**same, "strides": 2, "kernel_size": (3, 2)},
            centres=False,
        ),
        # Blocks of 18 entries, each of another channel and place.
        row("blocks", {**every, "block": 2}),
        row(
            "dilated",
            {**same, "dilation_rate": 2, "use_bias": False},
            weights=("kernel",),
            centres=False,
        ),
        row("groups", {**every, "groups": 2}),
    ]


def dense():
    row = functools.partial(
        Method,
        "DeconvolutionDense",
        29,
        weights=KERNEL,
        state=ROWS_STATE,
        mixes=True,
        result=mapped(5),
    )
    return [
        row(options=UNITS),
        row("blocks", {**UNITS, "block": 2}),
        # The greatest common divisor of 3 and 8.
        row("divisor", {**UNITS, "block": 3}),
    ]


def channels():
    row = functools.partial(
        Method,
        "ChannelDeconvolution",
        29,
        weights=(),
        # The data are centred, but what divides them is about zero.
        scales=False,
        mixes=True,
    )
    state = (*ROWS_STATE, "step")
    rest = (*ROWS_STATE, "moving_rest_mean", "moving_rest_variance", "step")
    return [
        # Two blocks, and two channels that are left.
        row("3", {"block": 3, "sampling_stride": 2}, state=rest),
        row("4", {"block": 4, "sampling_stride": 1}, state=state),
        row("all", state=state),
    ]


def centering():
    return [
        Method(
            "RunningMeanCentering",
            33,
            weights=(),
            state=("moving_mean",),
            centres=False,
            scales=False,
            source="state",
        ),
        Method(
            "MeanNormalizedDense",
            33,
            "",
            UNITS,
            weights=KERNEL,
            state=("moving_mean", "compensation"),
            centres=False,
            scales=False,
            source="state",
            result=mapped(5),
        ),
    ]


def whitened():
    row = functools.partial(
        Method,
        "WhitenedDense",
        34,
        weights=KERNEL,
        centres=False,
        scales=False,
        result=mapped(5),
    )
    whitening = ("mean", "whitening_matrix", "compensation")
    sample = ("kernel_shift", "samples", "sample_weights", "step")
    # Axes of rotation are those of no two programs: ZCA has none.
    each = {**UNITS, "update_every": 1, "num_samples": 40, "whitening": "zca"}
    inner = ("normalization_moving_mean", "normalization_moving_variance")
    return [
        row(options=UNITS, held=whitening, source="state"),
        row(
            "post",
            {**UNITS, "position": "post"},
            held=whitening,
            source="state",
        ),
        row(
            "normalized",
            {**UNITS, "batch_normalization": True},
            weights=(*KERNEL, "normalization_gamma"),
            held=whitening,
            state=inner,
            mixes=True,
        ),
        row(
            "updated",
            each,
            state=(*whitening, *sample),
            source="stored",
            # The latest entries push out the others.
            sees_order=True,
            own_path=True,
        ),
    ]


def cosines():
    row = functools.partial(
        Method,
        centres=False,
        scales=False,
        # Neither is statistics of more than one vector: tests/layers/weights.
        oracle=False,
    )
    weights = (*KERNEL, "gamma")
    same = {"filters": 6, "kernel_size": 3, "padding": "same"}
    strided = {**same, "strides": 2, "groups": 2, "centered": True}
    return [
        row(
            "CosineDense",
            85,
            options=UNITS,
            weights=weights,
            mask="passes",
            result=mapped(5),
        ),
        row(
            "CosineDense",
            85,
            "centered",
            {**UNITS, "centered": True, "scale": False},
            weights=KERNEL,
            mask="passes",
            result=mapped(5),
        ),
        row(
            "CosineConv2D",
            85,
            options=same,
            weights=weights,
            ranks=(4,),
            mask="refuses",
            result=convolved(same),
        ),
        row(
            "CosineConv2D",
            85,
            "centered",
            strided,
            weights=weights,
            ranks=(4,),
            mask="refuses",
            result=convolved(strided),
        ),
    ]


ROWS = [
    *cosines(),
    *convolutions(),
    *dense(),
    *channels(),
    *centering(),
    *whitened(),
]
