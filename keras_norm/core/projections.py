"""What the constraints share: output axes, precision, every so many steps."""

import sys
from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import variable_kernels
from keras_norm.core.layer import positive
from keras_norm.ops.matrix_roots import widened


def calling_optimizer():
    """The optimizer that is calling, or None.

    Keras gives a constraint the variable and nothing else. A counter of the
    constraint's own would not survive a compiled step; the optimizer's does,
    and is saved with the model.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.optimizers.Optimizer):
            return owner
        frame = frame.f_back
    return None


def updates_finished(optimizer, every):
    """True at the end of every `every`-th update, a boolean tensor.

    To be asked within the step. With gradients accumulated over n batches an
    update is n steps.
    """
    # `iterations` would be the updates, the same for n steps.
    steps = ops.convert_to_tensor(optimizer._iterations) + 1
    every = every * (optimizer.gradient_accumulation_steps or 1)
    return ops.equal(ops.mod(steps, every), 0)


class Projection(keras.constraints.Constraint):
    """Base of constraints that project a kernel after a step.

    A subclass gives `project`; its arguments are attributes of their names.

    Args:
        axis: axis or axes of the output neurons, or a name of
            `keras_norm.core.kernels.OUTPUT_AXES`; None: the last axis.
        every: project at every so many updates of the optimizer.
    """

    least_fan_in = 1

    def __init__(self, axis=None, every=1):
        self.axis = variable_kernels.checked_axis(axis)
        positive("every", every)
        self.every = every

    def project(self, w, kernel):
        """The projection.

        Args:
            w: the kernel's tensor, in at least float32.
            kernel: how it is to be read.
        """
        raise NotImplementedError

    def __call__(self, w):
        kernel = variable_kernels.of_tensor(w, self.axis)
        if not kernel.reduced or kernel.fan_in < self.least_fan_in:
            raise errors.received(
                f"{type(self).__name__} needs a variable whose output neurons "
                f"have at least {self.least_fan_in} weights: axes besides the "
                "output axes.",
                "Use it for kernels, not for biases; `axis` says which axes "
                "are output neurons.",
                shape=tuple(w.shape),
                axis=self.axis,
            )
        dtype = keras.backend.standardize_dtype(w.dtype)

        def projected():
            return ops.cast(self.project(widened(w), kernel), dtype)

        optimizer = calling_optimizer() if self.every > 1 else None
        if optimizer is None:
            return projected()
        return ops.cond(
            updates_finished(optimizer, self.every),
            projected,
            lambda: ops.cast(widened(w), dtype),
        )

    def get_config(self):
        return {"axis": self.axis, "every": self.every}
