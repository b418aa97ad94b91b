"""Matrix operations."""

import functools

from contract.method import Method

COVARIANCE = ("moving_mean", "moving_covariance", "whitening_matrix")


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
        row(
            "covariance",
            {"group_size": 3, "running": "covariance"},
            state=COVARIANCE,
        ),
    ]


def decorrelated():
    row = functools.partial(
        Method,
        "DecorrelatedBatchNormalization",
        25,
        state=COVARIANCE,
        mixes=True,
    )
    matrix = {"running": "matrix"}
    return [
        row("4", {"group_size": 4}, amplifies=4.0),
        row(
            "matrix",
            {"group_size": 3, **matrix},
            state=("moving_mean", "moving_matrix"),
            amplifies=4.0,
        ),
        row(
            "pca",
            {"group_size": 3, "whitening": "pca", **matrix},
            state=("moving_mean", "moving_matrix"),
            own_path=True,
            amplifies=4.0,
        ),
        row("cholesky", {"group_size": 3, "whitening": "cholesky"}),
        row("iterative", {"group_size": 4, "whitening": "iterative"}),
        row(
            "decorrelate",
            {"group_size": 4, "whitening": "decorrelate"},
            scales=False,
            amplifies=4.0,
        ),
    ]


def coloring():
    row = functools.partial(
        Method,
        "WhiteningColoringBatchNormalization",
        26,
        weights=("color", "bias"),
        state=COVARIANCE,
        mixes=True,
    )
    # Six vectors do not span eight channels; of W only epsilon is left there.
    more, whole = {"epsilon": 0.1}, {"ranks": (3, 4, 5)}
    three = {"num_classes": 3}
    classes = ("color", "bias", "class_color", "class_bias")
    bases = ("color", "bias", "class_code", "color_basis", "class_bias")
    return [
        row(options=more),
        row("default", **whole),
        row("zca", {"whitening": "zca"}, amplifies=4.0, **whole),
        row(
            "labels",
            {**three, **more},
            conditions=("labels",),
            weights=classes,
            own_path=True,
        ),
        row(
            "soft labels",
            {**three, "whitening": "zca"},
            conditions=("soft labels",),
            weights=classes,
            amplifies=4.0,
            **whole,
        ),
        row(
            "bases",
            {**three, "num_bases": 2},
            conditions=("labels",),
            weights=bases,
            **whole,
        ),
        row("no bias", {"use_bias": False, **more}, weights=("color",)),
    ]


def style():
    """Each sample whitened and colored by its style."""
    transform = functools.partial(
        Method,
        "WhiteningColoringTransform",
        32,
        conditions=("style",),
        weights=(),
        ranks=(3, 4, 5),
        # A constant input gives the mean of the style.
        centres=False,
        # A sample of weight 2 has twice the entries, not a twin.
        counts=("steps",),
    )
    # Twelve positions for eight channels: what is small is kept from growing.
    newton = {"whitening": "newton", "content_shift": 1.0, "threshold": 0.1}
    networks = [f"coloring_{i}" for i in range(3)]
    networks += [f"mean_{i}" for i in range(2)]
    groupwise = functools.partial(
        Method,
        "GroupwiseWhiteningColoring",
        32,
        conditions=("features",),
        weights=(
            "alpha",
            *(f"{n}_{w}" for n in networks for w in ("kernel", "bias")),
        ),
        ranks=(3, 4, 5),
        centres=False,
        scales=False,
        lone_channel=False,
    )
    options = {"groups": 2, "units": 5, "coloring_layers": 3, "mean_layers": 2}
    return [
        transform("eigh", {"content_shift": 1.0}, decomposes=True),
        transform("newton", newton, own_path=True),
        transform(
            "cholesky",
            {**newton, "whitening": "cholesky"},
            decomposes=True,
        ),
        transform("half", {**newton, "alpha": 0.5}),
        groupwise("2", options),
        groupwise(
            "batch",
            {**options, "area": "batch"},
            mixes=True,
        ),
    ]


ROWS = [
    *style(),
    *whitening(),
    *decorrelated(),
    *coloring(),
]
