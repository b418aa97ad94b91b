"""Recoveries: conditional batch, adaptive instance normalization."""

import numpy as np

from golden.adapters.area import MOVING
from golden.adapters.area import moving
from golden.plans import Link
from golden.plans import Plan
from golden.plans import transposed

PROJECTION = "projection/kernel"


def conditional_batch(row):
    """y = BN(x) * (1 + gain(condition)) + offset(condition).

    Both maps are affine; ours has their constant parts in gamma and beta.
    """
    c = row.channels
    half = {"gain": np.s_[:, :c], "offset": np.s_[:, c:]}
    links = {
        "bias of gain": Link("gamma", to=lambda bias: 1 + bias),
        "bias of offset": "beta",
        **MOVING,
    }
    for name, part in half.items():
        links[f"dense kernel (in,out) of {name}"] = Link(PROJECTION, part)
        links[f"dense kernel (out,in) of {name}"] = transposed(PROJECTION, part)
    arguments = {"epsilon": row.epsilon, **moving(row)}
    for name, role in row.parameters.items():
        if role.startswith("embedding"):
            arguments["num_classes"] = row.shapes[name][0]
            links[role] = Link(PROJECTION, half[role.split()[-1]])
    # Without a bias the gain still starts from 1: gamma stays there.
    return Plan(arguments, links, affine=False)


def adaptive_instance(row):
    config = row.config
    arguments = {
        "variant": config["variant"],
        "epsilon": row.epsilon,
        "unbiased": bool(row.unbiased),
        "alpha": config.get("alpha", 1.0),
    }
    links = {}
    if config["variant"] == "dense":
        gain = config.get("weight_gain")
        arguments["equalized_learning_rate"] = gain is not None
        if gain is not None:
            arguments["gain"] = gain
        # gamma = gamma_offset + the first half; ours is 1 + the first half.
        shift = np.zeros(2 * row.channels)
        shift[: row.channels] = config.get("gamma_offset", 0.0) - 1.0
        for role in row.parameters.values():
            if role.startswith("dense bias"):
                links[role] = Link("bias", to=lambda bias: bias + shift)
            if role.startswith("dense kernel (out"):
                links[role] = transposed("kernel")
            if role.startswith("dense kernel (in"):
                links[role] = Link("kernel")
    return Plan(arguments, links, affine=False)


ADAPTERS = {
    "ConditionalBatchNormalization": conditional_batch,
    "AdaptiveInstanceNormalization": adaptive_instance,
}
