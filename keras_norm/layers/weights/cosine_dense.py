"""Cosine normalization of a dense layer.

Luo et al., 2018, https://arxiv.org/abs/1702.05870
"""

import keras
from keras import ops

from keras_norm.core import weight_vectors
from keras_norm.core.cosine import CosineLayer
from keras_norm.core.linear import DenseLayer


@keras.saving.register_keras_serializable("keras_norm")
class CosineDense(CosineLayer, DenseLayer):
    """y = activation(gamma t + bias), t = <w, x> / (|w| |x|).

    t is the cosine of the angle between input and weights, from -1 to 1. With
    `centered` the means of w and of x are subtracted first: t is then
    Pearson's correlation of the two. Statistics of one sample: training and
    inference are the same, masks pass.

    Args:
        units: number of outputs.
        activation: as in `keras.layers.Dense`.
        use_bias: add a learned `bias`, after gamma.
        centered: subtract their means from w and from x.
        scale: multiply by a learned `gamma`. False: the paper's t itself.
        per_neuron: a gamma for each output, not one for all.
        gamma_initializer: initializer of `gamma`, or a number.
        gamma_regularizer: regularizer of `gamma`.
        gamma_constraint: constraint of `gamma`.
        epsilon: least squared length of w and x that is divided by. Shorter
            ones give less than their cosine, zeros give 0.
        **kwargs: `kernel_...`, `bias_...`, `activity_regularizer`, `name`,
            `dtype` as in `keras.layers.Dense`.

    Call arguments:
        inputs: tensor (batch, ..., features).

    Raises:
        ValueError: units below 1; one feature with `centered`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.CosineDense(3, scale=False)
    >>> x = np.random.normal(size=(4, 8)).astype("float32")
    >>> bool(keras.ops.max(keras.ops.abs(layer(5 * x) - layer(x))) < 1e-5)
    True

    Reference:

    - Luo et al., Cosine Normalization: Using Cosine Similarity Instead of Dot
      Product in Neural Networks, ICANN 2018, https://arxiv.org/abs/1702.05870
    - Gidaris & Komodakis, Dynamic Few-Shot Visual Learning without
      Forgetting, CVPR 2018, https://arxiv.org/abs/1804.09458, for gamma

    Note: the paper has neither gamma nor bias. A softmax of numbers from -1 to
    1 can never be sure: with 10 classes its largest output is 0.45. So one
    gamma is learned, from 10 on as Gidaris & Komodakis; one for all outputs,
    since gammas of their own would give some classes an advantage, which the
    normalization of w is to take away. Computed in float32 also under mixed
    precision. Weights: kernel, bias as `keras.layers.Dense`, whose saved
    weights load; gamma, of shape () or (units,).
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        centered=False,
        scale=True,
        per_neuron=False,
        gamma_initializer=10.0,
        gamma_regularizer=None,
        gamma_constraint=None,
        epsilon=1e-12,
        **kwargs,
    ):
        super().__init__(
            units=units,
            activation=activation,
            use_bias=use_bias,
            centered=centered,
            scale=scale,
            per_neuron=per_neuron,
            gamma_initializer=gamma_initializer,
            gamma_regularizer=gamma_regularizer,
            gamma_constraint=gamma_constraint,
            epsilon=epsilon,
            **kwargs,
        )

    def call(self, inputs):
        """The cosines, then gamma, bias and activation."""
        x = self.widened(inputs)
        w = ops.cast(self.kernel, x.dtype)
        if self.centered:
            # Twice: far from 0 the first mean is only as exact as its size.
            x = weight_vectors.centred(weight_vectors.centred(x, -1), -1)
            w = weight_vectors.centred(w, 0)
        w = weight_vectors.unit(w, 0, self.epsilon)
        squares = weight_vectors.square(x, -1)
        rate = weight_vectors.reciprocal(squares, self.epsilon, "clamp")
        return self.finish(ops.matmul(x, w) * rate)
