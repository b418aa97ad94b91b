"""Operations: scaling, centering, other deviations, EvoNorm."""

import numpy as np

from golden.adapters.area import momentum
from golden.adapters.area import moving
from golden.adapters.area import several_axes
from golden.plans import Link
from golden.plans import Plan


def rms(row):
    # Outside of [0, 1] it switches the partial mean square off.
    p = row.config.get("p")
    partial = p if p is not None and 0 <= p <= 1 else None
    return several_axes(
        row,
        arguments={
            "epsilon": row.epsilon,
            "epsilon_outside": row.outside,
            "partial": partial,
            "center": row.has("beta") or row.has("bias"),
        },
        links={"gamma": "scale", "bias": "beta"},
        affine=False,
    )


def pixel(row):
    return Plan({"epsilon": row.epsilon}, affine=False)


def filter_response(row):
    tau = "TLU threshold tau"
    arguments = {"use_tlu": row.has(tau), "epsilon": abs(row.epsilon)}
    links = {tau: "tau"}
    if row.config.get("learnable_eps"):
        # |eps| with eps itself learnt: ours adds a constant, here 0.
        arguments |= {"epsilon": 0.0, "learn_epsilon": True}
        links[row.parameters["param_eps"]] = "learned_epsilon"
    return Plan(arguments, links)


def mean_only(row):
    arguments = {**momentum(row), "center": row.has("beta")}
    return Plan(arguments, {"moving mean": "moving_mean"}, affine=False)


def inverse(values):
    """1 / values; the programs start at 0."""
    return 1 / np.maximum(values, 1e-30)


# The programs keep an average of 1 / deviation, ours is of the deviation: the
# same in inference when it is set, not when it is trained.
DEVIATION = {
    "moving mean": "moving_mean",
    "moving inverse scale 1/deviation (eps included)": Link(
        "moving_deviation", to=inverse, back=inverse
    ),
}


def deviation_plan(row, **arguments):
    """A plan for a batch normalization by another deviation."""
    arguments |= {"epsilon": row.epsilon, **momentum(row)}
    return Plan(arguments, DEVIATION, inference_state=True)


def lp(row):
    config = row.config
    kind = config.get("deviation", "lp")
    if kind == "l1":
        correction = config.get("normalized", True)
        return deviation_plan(row, p=1, gaussian_correction=correction)
    correction = config.get("gaussian_correction", kind != "lp")
    if kind in ("topk", "linf"):
        return deviation_plan(
            row,
            p="inf",
            top_k=config.get("k") or 1,
            gaussian_correction=correction,
        )
    return deviation_plan(row, p=config["p"], gaussian_correction=correction)


def value_range(row):
    return deviation_plan(
        row,
        num_chunks=row.config["num_chunks"],
        scale_fix=row.config.get("scale_fix", "code"),
    )


def evonorm(row):
    config = row.config
    arguments = {
        "variant": config["variant"],
        "epsilon": row.epsilon,
        "nonlinearity": config.get("apply_act", True),
        **moving(row),
    }
    if config.get("groups"):
        arguments["groups"] = config["groups"]
    elif config.get("group_size"):
        arguments["groups"] = row.channels // config["group_size"]
    return Plan(arguments, {"v": "v", "moving variance": "moving_variance"})


ADAPTERS = {
    "RMSNormalization": rms,
    "PixelNormalization": pixel,
    "FilterResponseNormalization": filter_response,
    "MeanOnlyBatchNormalization": mean_only,
    "LpBatchNormalization": lp,
    "RangeBatchNormalization": value_range,
    "EvoNorm": evonorm,
}
