"""One row for each wrapper of a layer's kernel.

What wrappers promise is not what normalizations of activations promise; the
tests of tests/core/test_parametrization.py and tests/layers/weights hold it.
Here they are rows of the tables of what every layer promises: to be saved,
exported, copied and found in the README.
"""

import dataclasses
from collections.abc import Callable

import keras

from contract.alone import Alone
from keras_norm import layers


def dense():
    """Keras' Dense, of fewer outputs than inputs."""
    return keras.layers.Dense(5, activation="relu")


def convolution():
    """Keras' Conv2D."""
    return keras.layers.Conv2D(6, (2, 3), padding="same")


@dataclasses.dataclass(frozen=True)
class Wrapper(Alone):
    """A wrapper around one of Keras' layers."""

    inner: Callable = convolution

    def make(self, **options):
        """The wrapper, not built."""
        return self.cls(self.inner(), **{**self.options, **options})


def activated():
    """Keras' Conv2D with an activation."""
    return keras.layers.Conv2D(6, 3, activation="relu")


def recurrent():
    """Keras' LSTM."""
    return keras.layers.LSTM(4)


WRAPPERS = [
    Wrapper("WeightNormalization"),
    Wrapper("WeightNormalization", "recurrent", inner=recurrent, rank=3),
    Wrapper("CenteredWeightNormalization"),
    Wrapper("WeightStandardization", options={"scale": True}),
    Wrapper("ScaledWeightStandardization", options={"gamma": "relu"}),
    Wrapper("WeightCentralization"),
    Wrapper("SpectralNormalization"),
    Wrapper(
        "SpectralNormalization",
        "convolution",
        {"method": "convolution", "mode": "bound"},
        whole=True,
    ),
    Wrapper("SpectralNormalization", "recurrent", inner=recurrent, rank=3),
    Wrapper("NormalizationPropagation", inner=activated),
    # It wraps an activation.
    Wrapper("GaussianPoincareActivation", inner=lambda: "tanh"),
    Wrapper("OrthogonalWeightNormalization", decomposes=True),
    Wrapper("OrthogonalWeightNormalization", "newton", {"solver": "newton"}),
    Wrapper("NewtonOrthogonalization"),
    Wrapper("OrthogonalParametrization", inner=dense, rank=2, decomposes=True),
    Wrapper(
        "OrthogonalParametrization",
        "exponential",
        {"method": "matrix_exponential"},
        rank=2,
        inner=dense,
    ),
    Wrapper(
        "OrthogonalParametrization",
        "householder",
        {"method": "householder"},
        rank=2,
        inner=dense,
        decomposes=True,
    ),
    Wrapper("QuantizedKernel"),
    Wrapper(
        "QuantizedKernel",
        "recurrent",
        {"levels": "ternary", "alpha": "kernel", "scale": True},
        rank=3,
        inner=recurrent,
    ),
    Wrapper("QuantizedKernel", "sampled", {"sampled": True, "seed": 0}),
]
WRAPPERS = [row for row in WRAPPERS if hasattr(layers, row.layer)]
