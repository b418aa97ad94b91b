"""Cosine normalization: what its dense and convolutional layers share."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import BETA
from keras_norm.core.linear import KernelLayer


class CosineLayer(KernelLayer):
    """Base: activation(gamma t + bias), t the cosine of weights and inputs.

    Args:
        centered: subtract their means from weights and inputs.
        scale: multiply by a learned `gamma`.
        per_neuron: a gamma for each output, not one for all.
        gamma_initializer: initializer of `gamma`, or a number.
        gamma_regularizer: regularizer of `gamma`.
        gamma_constraint: constraint of `gamma`.
        **kwargs: see `KernelLayer`.
    """

    fixed = ("axis", *BETA)

    def __init__(
        self,
        centered=False,
        scale=True,
        per_neuron=False,
        gamma_initializer=10.0,
        gamma_regularizer=None,
        gamma_constraint=None,
        epsilon=1e-12,
        **kwargs,
    ):
        super().__init__(epsilon=epsilon, **kwargs)
        self.centered = centered
        self.scale = scale
        self.per_neuron = per_neuron
        if isinstance(gamma_initializer, (int, float)):
            gamma_initializer = keras.initializers.Constant(gamma_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)

    def add_kernel(self, shape):
        """Create kernel, bias and gamma."""
        fan_in = 1
        for n in shape[:-1]:
            fan_in *= n
        if self.centered and fan_in < 2:
            raise errors.received(
                "`centered` needs neurons of at least two inputs: one alone "
                "is 0 when its mean is subtracted.",
                "Use centered=False.",
                kernel_shape=shape,
            )
        super().add_kernel(shape)
        if self.scale:
            self.add_option("gamma", (shape[-1],) if self.per_neuron else ())

    def finish(self, y):
        """Gamma, bias, activation, compute dtype."""
        if self.scale:
            y = y * ops.cast(self.gamma, y.dtype)
        return super().finish(y)

    def load_own_variables(self, store):
        """Load a layer of this kind, or kernel and bias of Keras' layer."""
        own = self._trainable_variables
        if self.scale and len(store.keys()) == len(own) - 1:
            for i, variable in enumerate(own[:-1]):
                variable.assign(store[str(i)])
        else:
            super().load_own_variables(store)
