"""Statistics: population batch normalization."""

from golden.adapters.area import MOVING
from golden.adapters.area import momentum
from golden.plans import Plan


def population(row):
    """used = (w batch + (1 - w) state) / (1 - w^t), w being the lag."""
    lag = row.config.get("bn_lag", 0.0)
    correction = row.config.get("bias_correction")
    # Without a lag the program uses the batch alone.
    corrected = lag > 0 and correction not in (None, "none")
    arguments = {
        "weight": lag or 1.0,
        "bias_correction": correction if corrected else None,
        "epsilon": row.epsilon,
        **momentum(row),
    }
    return Plan(arguments, {**MOVING, "number of training calls": "step"})


ADAPTERS = {"PopulationBatchNormalization": population}
