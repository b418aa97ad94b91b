"""Gradient centralization.

Yong, Huang, Hua and Zhang, Gradient Centralization: A New Optimization
Technique for Deep Neural Networks, ECCV 2020.
"""

import keras
from keras import ops

from keras_norm.core.gradient_transforms import Transform


@keras.saving.register_keras_serializable("keras_norm")
class Centralize(Transform):
    """The rule of `centralize`."""

    def __init__(self, conv_only=False, where=None):
        super().__init__(where)
        self.conv_only = bool(conv_only)

    def applies(self, kernel):
        if not self.conv_only:
            return True
        if kernel.kind:
            return "convolution" in kernel.kind
        return len(kernel.shape) >= 4

    def transformed(self, gradient, variable, kernel):
        if not kernel.reduced:
            return gradient
        mean = ops.mean(gradient, axis=kernel.reduced, keepdims=True)
        return gradient - mean


def centralize(conv_only=False, where=None):
    """Gradient centralization: g <- g - mean(g), for each output neuron.

    g (fan-in) is the gradient of the weights of one output neuron. With SGD
    the sum of these weights then stays what it was; with optimizers that
    scale single entries, as Adam, only centring their final direction does
    that (`location="update"` of `keras_norm.optimizers.GradientTransform`).

    Args:
        conv_only: only kernels of convolutions (where no layer says what a
            kernel is: of rank 4 and more).
        where: which variables: a name or a list of names, each of a layer or
            a variable or any consecutive part of a variable's path; built
            layers or models, or a list of them; a function of a variable;
            None: as `GradientTransform` says, all by default. Vectors, biases
            and the factors of normalizations are left out in any case, and
            embeddings where they are not named.

    Returns:
        A transform for `keras_norm.optimizers.GradientTransform`. It is also
        a function (gradient, variable=None, axis=None) of tensors, `axis`
        being that of the output neurons (None: the last).

    Raises:
        ValueError: `where` is none of these.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> g = keras.ops.array([[1.0, 2.0], [5.0, -2.0]])
    >>> centred = kn.optimizers.centralize()(g)
    >>> print(keras.ops.convert_to_numpy(centred))
    [[-2.  2.]
     [ 2. -2.]]

    Reference:

    - Yong et al., Gradient Centralization: A New Optimization Technique for
      Deep Neural Networks, ECCV 2020, https://arxiv.org/abs/2004.01461

    Note:
        The published program centres embeddings, too.
    """
    return Centralize(conv_only, where)
