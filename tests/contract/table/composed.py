"""The generic layer, from parts."""

import functools

from contract.method import AFFINE
from contract.method import MOMENTS
from contract.method import Method
from keras_norm import areas
from keras_norm import operations


def compositions():
    row = functools.partial(Method, "ComposedNormalization", 111)

    def named(**parts):
        return {"oracle": ("ComposedNormalization", parts)}

    batch = {"state": MOMENTS, "mixes": True}
    whole = {"area": "layer", "operation": "scale", "recovery": "none"}
    one = {"area": "instance", "operation": "standardize", "recovery": "none"}
    middle = {"area": "batch", "operation": "center"}
    root = {"area": "batch", "operation": "scale"}
    return [
        row(**batch, **named(statistics="moving")),
        row("instance", one, weights=(), **named(**one)),
        row("layer scale", whole, weights=(), centres=False, **named(**whole)),
        row(
            "group",
            {"area": areas.Area("each", 2)},
            lone_channel=False,
            **named(area="group", groups=2),
        ),
        row(
            "batch of now",
            {"statistics": "batch"},
            mixes=True,
            **named(area="batch"),
        ),
        row(
            "center",
            middle,
            scales=False,
            state=("moving_mean",),
            mixes=True,
            **named(**middle, statistics="moving"),
        ),
        row(
            "scale",
            root,
            state=("moving_second_moment",),
            mixes=True,
            centres=False,
            **named(**root, statistics="moving"),
        ),
        row(
            "deviation",
            {"operation": "scale_by_deviation"},
            state=("moving_variance",),
            mixes=True,
            centres=False,
            oracle=("ScaleOnlyBatchNormalization", {"centered_variance": True}),
        ),
        row(
            "ghost",
            {"area": areas.Area("chunks", size=3)},
            sees_order=True,
            own_path=True,
            oracle=(
                "BatchGroupNormalization",
                {"groups": 8, "batch_groups": 2},
            ),
            ranks=(2, 3, 4),
            lone_channel=False,
            **batch,
        ),
        row(
            "ghost of groups",
            {"area": areas.Area("chunks", 2, size=4)},
            sees_order=True,
            lone_channel=False,
            oracle=False,
            **batch,
        ),
        row(
            "group of L1",
            {
                "area": areas.Area("each", 2),
                "operation": operations.LpDeviation(1),
            },
            own_path=True,
            lone_channel=False,
            oracle=False,
        ),
        row(
            "instance median",
            {
                "area": "instance",
                "operation": operations.Deviation("mad"),
            },
            own_path=True,
            oracle=False,
            counts=(),
        ),
        row(
            "position",
            {"area": "position"},
            oracle=("LayerNormalization", {"epsilon": 1e-5}),
        ),
        row(
            "position scale",
            {"area": "position", "operation": "scale", "recovery": "none"},
            weights=(),
            centres=False,
            mask="passes",
            oracle=("PixelNormalization", {"epsilon": 1e-5}),
        ),
        row(
            "newton",
            {"operation": operations.Newton(4, 3)},
            state=("moving_mean", "moving_matrix"),
            mixes=True,
            oracle=(
                "IterativeNormalization",
                {"group_size": 4, "iterations": 3},
            ),
        ),
        row(
            "population",
            {"statistics": "population"},
            state=(*MOMENTS, "step"),
            mixes=True,
            centres=False,
            oracle=("PopulationBatchNormalization", {}),
        ),
        row(
            "renorm",
            {"statistics": "renorm"},
            state=(*MOMENTS, "moving_stddev", "renorm_mean", "renorm_stddev"),
            mixes=True,
            centres=False,
            oracle=(
                "BatchNormalization",
                {"renorm": True, "epsilon": 1e-5},
            ),
        ),
        row(
            "conditional",
            {"recovery": "conditional"},
            conditions=("features",),
            weights=(*AFFINE, "projection"),
            oracle=("ConditionalBatchNormalization", {}),
            **batch,
        ),
        row(
            "style",
            {"area": "instance", "recovery": "style"},
            conditions=("style",),
            weights=(),
            centres=False,
            oracle=("AdaptiveInstanceNormalization", {}),
        ),
        row(
            "layer dense",
            {"area": "layer", "recovery": "dense"},
            conditions=("features",),
            weights=("kernel", "bias"),
            centres=False,
            oracle=False,
        ),
    ]


ROWS = [*compositions()]
