"""Whitening over groups of each sample, mixtures of areas, and domains."""

from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan

# What the program mixes, by its `sw_type`.
MIXED = {
    2: ("batch_whitening", "instance_whitening"),
    3: ("batch_whitening", "instance_whitening", "layer"),
    5: ("batch_whitening", "instance_whitening", "batch", "instance", "layer"),
}


def group(row):
    return Plan(
        {
            "groups": row.config["num_groups"],
            "whitening": row.config["whitening"],
            "iterations": row.config["T"],
            "epsilon": row.epsilon,
        }
    )


def switchable(row):
    config = row.config
    return Plan(
        {
            "normalizers": MIXED[config["sw_type"]],
            "group_size": config["num_pergroup"],
            "iterations": config["T"],
            "tie_weights": config["tie_weight"],
            "epsilon": row.epsilon,
            **momentum(row),
        },
        {
            "logits of the mean weights": "mean_weight",
            "logits of the covariance weights": "covariance_weight",
            "moving mean": "moving_mean",
            "moving covariance, without eps": "moving_covariance",
        },
    )


def domain(row):
    return Plan(
        {
            "num_domains": 1,
            "group_size": row.config["group_size"],
            "epsilon": row.epsilon,
            **momentum(row),
        },
        {
            "moving mean": Link("moving_mean", 0),
            "moving covariance, not shrunk": Link("moving_covariance", 0),
        },
    )


ADAPTERS = {
    "DomainWhitening": domain,
    "GroupWhitening": group,
    "SwitchableWhitening": switchable,
}
