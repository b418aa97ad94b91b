"""Statistics: population batch normalization."""

from golden.adapters.area import MOVING
from golden.adapters.area import momentum
from golden.plans import Plan


def population(row):
    """used = (w batch + (1 - w) state) / (1 - w^t), w being the lag."""
    weight = row.config.get("bn_lag", 0.0)
    correction = row.config.get("bias_correction")
    arguments = {"epsilon": row.epsilon, **momentum(row)}
    if weight:
        arguments["weight"] = weight
        arguments["bias_correction"] = None if correction == "none" else correction
    else:
        # The program then uses the batch alone.
        arguments["weight"] = 1.0
    return Plan(arguments, {**MOVING, "number of training calls": "step"})


ADAPTERS = {"PopulationBatchNormalization": population}
