"""Gaussian-Poincare normalized activations.

Lu et al., 2020, https://arxiv.org/abs/2006.12169
"""

import keras

from keras_norm.core import configuration
from keras_norm.core import gaussian_moments

# What rounding leaves of 1 - a^2 Var phi where it is 0, as for a linear phi.
_ROUNDING = 1e-6


@keras.saving.register_keras_serializable("keras_norm")
class GaussianPoincareActivation(keras.layers.Layer):
    """psi(x) = a phi(x) + b with E psi(z)^2 = E psi'(z)^2 = 1, z ~ N(0, 1).

    a = 1 / sqrt(E phi'(z)^2), b = -a E phi(z) +- sqrt(1 - a^2 Var phi(z)), the
    root by Poincare's inequality not of a negative number. With orthogonal
    kernels before it (`OrthogonalParametrization`, `NewtonOrthogonalization`)
    the lengths of activations and of gradients both stay what they are, in
    the mean, in bidirectionally self-normalizing networks.

    Args:
        activation: phi, an elementwise activation or its name in Keras.
        **kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of any shape.

    Raises:
        ValueError: an activation that mixes entries, as softmax.

    Example:

    >>> import keras_norm as kn
    >>> layer = kn.layers.GaussianPoincareActivation("relu")
    >>> print(f"{layer.factor:.4f} {abs(layer.shift):.4f}")
    1.4142 0.0000

    Reference:

    - Lu, Gould & Ajanthan, Bidirectionally Self-Normalizing Neural Networks,
      2020, https://arxiv.org/abs/2006.12169

    Note: of the two b the smaller is taken, which for ReLU is 0, and of two
    equally large ones, as for odd activations, the positive. a and b come
    from quadrature, good to six digits, and are the attributes `factor` and
    `shift`.
    """

    def __new__(cls, *args, **kwargs):
        """Check the keywords as the user wrote them."""
        configuration.check_keywords(cls, kwargs, configuration.LAYER_KEYWORDS)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        mean, deviation, slope = gaussian_moments.of(self.activation)
        self.factor = 1.0 / slope
        rest = 1.0 - (self.factor * deviation) ** 2
        root = rest**0.5 if rest > _ROUNDING else 0.0
        centre = self.factor * mean
        if centre < -_ROUNDING:
            root = -root
        self.shift = 0.0 + root - centre
        self.supports_masking = True
        self.built = True

    def call(self, inputs):
        """a phi(x) + b."""
        return self.factor * self.activation(inputs) + self.shift

    def compute_output_shape(self, inputs_shape):
        """The shape of the input."""
        return inputs_shape

    def get_config(self):
        """The activation."""
        return {**super().get_config(), **configuration.config(self)}
