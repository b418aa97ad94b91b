"""Whitening: iterative normalization."""

import numpy as np

from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan


def group_sizes(channels, size):
    """Sizes of consecutive groups; the last may be smaller."""
    return [min(size, channels - start) for start in range(0, channels, size)]


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
    # All groups in one array, or one array for each.
    links = {
        "moving mean": "moving_mean",
        "moving whitening matrix": "moving_matrix",
    }
    for g, d in enumerate(group_sizes(row.channels, size)):
        links[f"moving mean, group {g}"] = Link(
            "moving_mean", np.s_[g * size : g * size + d]
        )
        links[f"moving whitening matrix, group {g}"] = Link(
            "moving_matrix", np.s_[g, :d, :d]
        )
    return Plan(arguments, links)


ADAPTERS = {"IterativeNormalization": iterative}
