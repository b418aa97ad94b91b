"""Whitening over groups of each sample, mixtures of areas, and domains."""

import functools

from contract.method import AFFINE
from contract.method import Method

COVARIANCE = ("moving_mean", "moving_covariance", "whitening_matrix")


def groups():
    row = functools.partial(
        Method,
        "GroupWhitening",
        28,
        # A sample of weight 2 has twice the entries, not a twin.
        counts=("steps",),
    )
    # (N, C) has too few entries for what is no polynomial of them.
    maps = {"ranks": (3, 4, 5), "decomposes": True}
    return [
        row("4", {"groups": 4}),
        # One channel in each: all are whitened to each other.
        row(),
        row(
            "zca",
            {"groups": 2, "whitening": "zca", "epsilon": 1e-3},
            **maps,
        ),
        row(
            "cholesky",
            {"groups": 4, "whitening": "cholesky", "epsilon": 1e-3},
            **maps,
        ),
    ]


def switchable():
    row = functools.partial(
        Method,
        "SwitchableWhitening",
        30,
        weights=(*AFFINE, "mean_weight", "covariance_weight"),
        state=("moving_mean", "moving_covariance"),
        mixes=True,
        ranks=(3, 4, 5),
        counts=("steps",),
    )
    three = ("batch_whitening", "instance_whitening", "layer")
    five = (
        "batch_whitening",
        "instance_whitening",
        "batch",
        "instance",
        "layer",
    )
    return [
        row("4", {"group_size": 4}),
        # Groups of 3, 3 and 2.
        row("three", {"normalizers": three, "group_size": 3}),
        row("five", {"normalizers": five}),
        row(
            "tied zca",
            {"group_size": 3, "whitening": "zca", "tie_weights": True},
            weights=(*AFFINE, "mean_weight"),
            decomposes=True,
        ),
        row(
            "batch and layer",
            {"normalizers": ("batch", "layer"), "group_size": 3},
            ranks=(2, 3, 4, 5),
        ),
        row(
            "without batch",
            {"normalizers": ("instance_whitening", "layer")},
            state=(),
            mixes=False,
        ),
    ]


def domains():
    row = functools.partial(
        Method,
        "DomainWhitening",
        31,
        conditions=("labels",),
        optional=True,
        weights=(),
        state=COVARIANCE,
        mixes=True,
    )
    weights = {
        "num_domains": 3,
        "group_size": 3,
        "whitening": "zca",
        "center": True,
        "scale": True,
    }
    return [
        # The fourth is always absent.
        row("labels", {"num_domains": 4}),
        # Groups of 3, 3 and 2.
        row(
            "weights",
            weights,
            conditions=("soft labels",),
            weights=AFFINE,
        ),
        row("iterative", {"num_domains": 3, "whitening": "iterative"}),
    ]


ROWS = [*groups(), *switchable(), *domains()]
