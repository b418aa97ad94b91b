"""Hand-written backwards that can be differentiated themselves."""

import keras
from keras import ops

from keras_norm.core.distribution import is_recording


def custom_gradient(function):
    """`keras.ops.custom_gradient`, differentiable twice on PyTorch too.

    There only the arguments of `function` have a history in its backward, not
    what it has computed of them: where the backward is recorded, that is
    computed once more. Without need where `function` keeps arguments alone.
    """
    if keras.backend.backend() != "torch":
        return ops.custom_gradient(function)

    @ops.custom_gradient
    def twice(*inputs):
        value, first = function(*inputs)

        def grad(*args, upstream=None):
            backward = function(*args)[1] if is_recording() else first
            return backward(*args, upstream=upstream)

        return value, grad

    return twice
