"""Switches that learn: exactly 0 or 1, with a gradient."""

from keras import ops


def straight_through(logit):
    """1 where the logit is positive, else 0; its gradient is 1 everywhere.

    The derivative of the step, 0, would teach it nothing: what arrives at the
    gate is handed to the logit as it is.
    """
    step = ops.cast(ops.stop_gradient(logit) > 0, logit.dtype)
    # Exactly the step: the difference is 0.
    return step + (logit - ops.stop_gradient(logit))
