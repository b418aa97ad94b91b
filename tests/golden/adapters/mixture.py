"""Mixtures: switchable normalization."""

from golden.adapters.area import MOVING
from golden.adapters.area import momentum
from golden.plans import Plan


def switchable(row):
    normalizers = ["instance", "layer", "batch"]
    if not row.config.get("using_bn", True):
        normalizers.remove("batch")
    if row.rank == 2:
        normalizers.remove("instance")
    return Plan(
        {
            "normalizers": tuple(normalizers),
            "epsilon": row.epsilon,
            "unbiased": row.unbiased,
            **momentum(row),
        },
        {
            "logits of the mean weights": "mean_weight",
            "logits of the variance weights": "variance_weight",
            **MOVING,
        },
    )


ADAPTERS = {"SwitchableNormalization": switchable}
