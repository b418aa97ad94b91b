"""Weight normalization: length and direction of each neuron's weights.

Salimans & Kingma, 2016, https://arxiv.org/abs/1602.07868
"""

import keras

from keras_norm.core import data_dependent
from keras_norm.core import weight_vectors
from keras_norm.core.vector_parametrization import VectorParametrization


@keras.saving.register_keras_serializable("keras_norm")
class WeightNormalization(VectorParametrization):
    """w = g v / |v| for each output neuron: length and direction apart.

    v is the layer's own kernel. g starts as |v|, so that wrapping a layer
    does not change what it computes; `initialize` is the paper's start from
    data instead.

    Args:
        layer: the layer to wrap: Dense, EinsumDense, any convolution,
            Embedding (a vector for each token), RNN, attention.
        axis: axes of the kernel that are output neurons; () takes the whole
            kernel for one neuron. None: from the type of `layer`.
        epsilon: least squared length, or what `epsilon_place` says.
        epsilon_place: "clamp": sqrt(max(|v|^2, epsilon)); "inside":
            sqrt(|v|^2 + epsilon); "outside": |v| + epsilon.
        scale_initializer: initializer of g, or a number. None: |v|.
        scale_regularizer: regularizer of g.
        scale_constraint: constraint of g.
        trainable_scale: learn g.
        targets: names of the kernels to take; None: all.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: whatever `layer` takes; further arguments are passed on.
        training: True in training; passed on.
        mask: passed on.

    Raises:
        ValueError: a layer without kernel or of unknown type without `axis`,
            one that is wrapped already, quantized or adapted by LoRA.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.WeightNormalization(keras.layers.Dense(3))
    >>> y = layer(np.ones((2, 4), "float32"))
    >>> [tuple(w.shape) for w in layer.weights]
    [(4, 3), (3,), (3,)]

    Reference:

    - Salimans & Kingma, Weight Normalization: A Simple Reparameterization to
      Accelerate Training of Deep Neural Networks, NeurIPS 2016,
      https://arxiv.org/abs/1602.07868

    Note: the gradient of v is perpendicular to v, so that plain SGD only makes
    |v| longer and L2 on the kernel raises the effective learning rate rather
    than regularize. PyTorch's weight_norm has no epsilon; a neuron of zeros
    gives NaN there and 0 here.
    """

    fixed = ("scale",)

    def __init__(
        self,
        layer,
        axis=None,
        epsilon=1e-12,
        epsilon_place="clamp",
        scale_initializer=None,
        **kwargs,
    ):
        super().__init__(
            layer,
            axis=axis,
            scale=True,
            scale_initializer=scale_initializer,
            **kwargs,
        )
        self.epsilon = float(epsilon)
        self.epsilon_place = weight_vectors.check_place(epsilon_place)

    def rate(self, squares, kernel):
        """1 / length."""
        return weight_vectors.reciprocal(
            squares, self.epsilon, self.epsilon_place
        )

    def violation(self, w, kernel):
        """How far a length is from 1."""
        return weight_vectors.largest(self.gain(w, kernel) - 1.0)

    def call(self, inputs, *args, training=None, mask=None, **kwargs):
        """Call the layer with its effective kernel."""
        data_dependent.start(self, inputs, args, kwargs)
        return super().call(
            inputs, *args, training=training, mask=mask, **kwargs
        )

    @staticmethod
    def initialize(model, x, init_scale=1.0):
        """The paper's start from data: normalized pre-activations.

        In the order in which the model calls them, each WeightNormalization
        in `model` gets the g and the bias with which its results, before the
        activation, have mean 0 and standard deviation `init_scale` over the
        batch; what follows sees the results so initialized. Runs eagerly.

        Args:
            model: a built model, or one layer.
            x: a batch of inputs of the model.
            init_scale: the standard deviation.

        Returns:
            The names of the initialized wrappers, in order.

        Raises:
            ValueError: the model has no such layer, or one whose kernels have
                no result of their own (recurrent layers, attention,
                embeddings) or not a scale and a bias for each channel of it;
                another wrapper around such a layer.
        """
        return data_dependent.initialize(
            model, x, init_scale, WeightNormalization
        )
