"""One row for each wrapper of a layer's kernel.

What wrappers promise is not what normalizations of activations promise; the
tests of tests/core/test_parametrization.py and tests/layers/weights hold it.
Here they are rows of the tables of what every layer promises: to be saved,
exported, copied and found in the README.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from contract.method import SHAPES
from contract.method import scramble
from keras_norm import layers


def dense():
    """Keras' Dense, of fewer outputs than inputs."""
    return keras.layers.Dense(5, activation="relu")


def convolution():
    """Keras' Conv2D."""
    return keras.layers.Conv2D(6, (2, 3), padding="same")


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """A wrapper around one of Keras' layers.

    The fields are those of `contract.method.Method` that tests of single
    layers and of the model of all layers ask for.
    """

    layer: str
    label: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    inner: Callable = convolution
    rank: int = 4
    conditions: tuple = ()
    decomposes: bool = False
    whole: bool = False

    def __str__(self):
        return f"{self.layer} {self.label}".strip().replace(" ", "-")

    @property
    def cls(self):
        return getattr(layers, self.layer)

    def make(self, **options):
        """The wrapper, not built."""
        return self.cls(self.inner(), **{**self.options, **options})

    def built(self, seed=0, **options):
        """The wrapper, built, weights scrambled."""
        layer = self.make(**options)
        layer.build(SHAPES[self.rank])
        scramble(layer, seed)
        return layer

    def inputs(self, seed=1):
        """A float32 input."""
        rng = np.random.default_rng(seed)
        return [rng.normal(size=SHAPES[self.rank]).astype("float32")]

    def given(self, inputs):
        """What the wrapper is called with."""
        return inputs[0]


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
        dense,
        2,
    ),
    Wrapper(
        "OrthogonalParametrization",
        "householder",
        {"method": "householder"},
        dense,
        2,
        decomposes=True,
    ),
]
WRAPPERS = [row for row in WRAPPERS if hasattr(layers, row.layer)]
