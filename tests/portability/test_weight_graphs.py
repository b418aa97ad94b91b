"""What the graphs of parametrized layers are made of.

Before `remove()` spectral normalization adds at most two matrix-vector
products to inference, after it nothing. The maps of products alone lower for
TPU without decomposition or call out of XLA, training included.
"""

import jax
import pytest
from jax import numpy as jnp
from keras import layers

import keras_norm as kn

K = kn.layers
MAPS = {
    "weight": K.WeightNormalization,
    "centered": K.CenteredWeightNormalization,
    "standardized": K.WeightStandardization,
    "scaled": K.ScaledWeightStandardization,
    "centralized": K.WeightCentralization,
    "spectral": K.SpectralNormalization,
    "spectral of the convolution": lambda layer: K.SpectralNormalization(
        layer, method="convolution"
    ),
    "newton": K.NewtonOrthogonalization,
    "orthogonal by newton": lambda layer: K.OrthogonalWeightNormalization(
        layer, solver="newton"
    ),
    "exponential": lambda layer: K.OrthogonalParametrization(
        layer, "matrix_exponential"
    ),
}
FOREIGN = (
    "stablehlo.custom_call",
    "stablehlo.while",
    "stablehlo.cholesky",
    "callback",
)


def program(layer, shape, training):
    """StableHLO of a call for TPU, with gradients if training."""
    if not layer.built:
        layer.build(shape)

    def call(trainable, x, state):
        return layer.stateless_call(trainable, state, x, training=training)

    def step(trainable, x, state):
        def total(trainable, x):
            y, moved = call(trainable, x, state)
            return jnp.sum(y * y), moved

        return jax.grad(total, argnums=(0, 1), has_aux=True)(trainable, x)

    x = jax.ShapeDtypeStruct(shape, "float32")
    trainable, state = (
        [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]
        for variables in (
            layer.trainable_variables,
            layer.non_trainable_variables,
        )
    )
    function = jax.jit(step if training else call)
    exported = jax.export.export(function, platforms=["tpu"])
    return exported(trainable, x, state).mlir_module()


def products(text):
    """How many matrix products and convolutions a program makes."""
    return text.count("stablehlo.dot_general") + text.count(
        "stablehlo.convolution"
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MAPS)
def test_maps_of_products_stay_in_xla(name, training):
    layer = MAPS[name](layers.Conv2D(4, 3))
    text = program(layer, (2, 6, 6, 3), training)
    assert not [name for name in FOREIGN if name in text]


def test_spectral_normalization_at_inference():
    plain = program(layers.Dense(5), (2, 7), False)
    wrapper = K.SpectralNormalization(layers.Dense(5))
    wrapped = program(wrapper, (2, 7), False)
    assert products(plain) == 1
    assert 1 < products(wrapped) <= 3
    removed = program(wrapper.remove(), (2, 7), False)
    assert products(removed) == 1


def test_one_power_iteration_is_two_products():
    def step(layer):
        return products(program(layer, (2, 7), True))

    plain = step(layers.Dense(5))
    one, two = (
        step(K.SpectralNormalization(layers.Dense(5), power_iterations=n))
        for n in (1, 2)
    )
    assert two - one == 2
    # Two of the iteration; the gradient of sigma is an outer product, which
    # may be written as one more.
    assert one - plain <= 3


def test_recurrent_kernels_are_computed_outside_the_loop():
    wrapper = K.SpectralNormalization(layers.LSTM(3))
    text = program(wrapper, (2, 5, 4), False)
    loop = text[text.index("stablehlo.while") :]
    plain = program(layers.LSTM(3), (2, 5, 4), False)
    inner = plain[plain.index("stablehlo.while") :]
    assert products(loop) == products(inner)
    assert products(text) > products(plain)
