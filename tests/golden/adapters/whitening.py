"""Whitening over the batch, and coloring."""

import numpy as np

from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan
from golden.plans import transposed

# States of batch whitening by role, and the layer's names.
BATCH_STATE = {
    "moving mean": "moving_mean",
    "moving whitening matrix": "moving_matrix",
    "moving whitening matrix, row signs arbitrary": "moving_matrix",
    "moving covariance, eps*I included": "moving_covariance",
}


def group_sizes(channels, size):
    """Sizes of consecutive groups; the last may be smaller."""
    return [min(size, channels - start) for start in range(0, channels, size)]


def by_group(row, size, roles):
    """Links of arrays of all groups in one, or in one for each.

    Args:
        row: the golden row.
        size: channels of a group.
        roles: {role: weight name}, without the group.
    """
    links = dict(roles)
    for role, weight in roles.items():
        for g, d in enumerate(group_sizes(row.channels, size)):
            part = np.s_[g, :d, :d]
            if weight == "moving_mean":
                part = np.s_[g * size : g * size + d]
            links[f"{role}, group {g}"] = Link(weight, part)
    return links


def iterative(row):
    config = row.config
    size = config.get("effective_block") or config.get("num_channels")
    if size is None:
        size = -(-row.channels // config.get("num_groups", 1))
    size = min(size, row.channels)
    arguments = {
        "group_size": size,
        "iterations": config["T"],
        "epsilon": row.epsilon,
        **momentum(row),
    }
    covariance = config.get("running") == "covariance"
    arguments["running"] = "covariance" if covariance else "matrix"
    return Plan(arguments, by_group(row, size, BATCH_STATE))


def decorrelated(row):
    config = row.config
    size = min(config["group_size"], row.channels)
    arguments = {
        "group_size": size,
        "whitening": config["whitening"],
        "running": config["running"],
        "iterations": config.get("T", 5),
        "epsilon": row.epsilon,
        **momentum(row),
    }
    return Plan(arguments, by_group(row, size, BATCH_STATE))


def coloring(row):
    arguments = {
        "whitening": row.config["decomposition"],
        "epsilon": row.epsilon,
        **momentum(row),
    }
    links = {
        "coloring matrix (in,out): y = xhat @ color + bias": "color",
        "coloring bias": "bias",
        "moving mean": "moving_mean",
        "moving covariance, not shrunk": "moving_covariance",
    }
    return Plan(arguments, links, affine=False)


def transform(row):
    config = row.config
    arguments = {
        "alpha": config["alpha"],
        "content_shift": config["content_shift"],
        "threshold": config["sv_threshold"],
    }
    return Plan(arguments, affine=False)


def groupwise(row):
    config = row.config
    arguments = {
        "groups": config["n_group"],
        "units": config["mlp_dim"],
        "coloring_layers": config["coloring_layers"],
        "mean_layers": config["mean_layers"],
        "negative_slope": config["negative_slope"],
        # The program's.
        "area": "batch",
    }
    links = {"alpha": "alpha"}
    for network in ("coloring", "mean"):
        for i in range(config[f"{network}_layers"]):
            kernel, bias = f"{network}_{i}/kernel", f"{network}_{i}/bias"
            of = f"{i} of the {network} network"
            links[f"dense kernel (out,in) {of}"] = transposed(kernel)
            links[f"dense bias {of}"] = bias
    return Plan(arguments, links, affine=False)


ADAPTERS = {
    "IterativeNormalization": iterative,
    "DecorrelatedBatchNormalization": decorrelated,
    "WhiteningColoringBatchNormalization": coloring,
    "WhiteningColoringTransform": transform,
    "GroupwiseWhiteningColoring": groupwise,
}
