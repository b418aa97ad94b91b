"""The normalization layers of a model, wherever they are in it."""

from typing import Any

import keras

from keras_norm.core.cross_iteration_kernel import CrossIterationKernel
from keras_norm.core.domain_layer import DomainNormalization
from keras_norm.core.frozen import Frozen
from keras_norm.core.memory import Memory
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.stochastic import Stochastic
from keras_norm.core.whitening import Whiten
from keras_norm.layers.area.batch_group_normalization import (
    BatchGroupNormalization,
)
from keras_norm.layers.mixture.switchable_normalization import (
    SwitchableNormalization,
)
from keras_norm.layers.operation.evonorm import EvoNorm
from keras_norm.layers.recurrent.batch_normalized_lstm import (
    BatchNormalizedLSTM,
)
from keras_norm.layers.statistics.kalman_normalization import (
    KalmanNormalization,
)
from keras_norm.layers.statistics.online_normalization import (
    OnlineNormalization,
)
from keras_norm.layers.statistics.power_normalization import PowerNormalization
from keras_norm.layers.statistics.switchable_batch_normalization import (
    SwitchableBatchNormalization,
)
from keras_norm.layers.whitening.domain_whitening import DomainWhitening
from keras_norm.layers.whitening.mean_normalized_dense import (
    MeanNormalizedDense,
)
from keras_norm.layers.whitening.switchable_whitening import SwitchableWhitening
from keras_norm.layers.whitening.whitened_dense import WhitenedDense
from keras_norm.models import layer_covariances
from keras_norm.models import layer_statistics
from keras_norm.models import own_statistics

# What these compute does not depend on their statistics.
PRESERVING = (MeanNormalizedDense, WhitenedDense)
READINGS = {
    DomainNormalization: layer_statistics.OfDomains,
    DomainWhitening: layer_covariances.OfDomains,
    SwitchableWhitening: layer_covariances.Mixed,
    SwitchableNormalization: layer_statistics.Switchable,
    SwitchableBatchNormalization: layer_statistics.OfWidths,
    PowerNormalization: layer_statistics.GroupScaled,
    BatchNormalizedLSTM: own_statistics.TimeSteps,
    KalmanNormalization: layer_statistics.Fused,
    CrossIterationKernel: layer_statistics.OfKernel,
}
# What names of statistics begin with: averages, batches, Gaussian mixtures.
STATE = ("moving_", "memory_", "mixture_")
# Steps of a composed layer. Where one is another, who knows what it measures?
STEPS = ("normalize", "transform", "factors")
# What these have is known: statistics of the input, as parts say.
KNOWN = (BatchGroupNormalization, EvoNorm, OnlineNormalization)


class Found:
    """The layers of a model that keep statistics.

    Attributes:
        readings: of the layers whose statistics batches determine.
        loops: `TimeDistributed` layers around them.
        unknown: layers whose statistics something else determines.
    """

    def __init__(self, model):
        self.readings: list = []
        self.loops: list = []
        self.unknown: list = []
        self._visited: set = set()
        self._visit(model, (), False)

    def _visit(self, layer, loops, within_cell):
        """A layer and, unless it keeps statistics itself, those within it."""
        if id(layer) in self._visited:
            return
        self._visited.add(id(layer))
        if keeps(layer):
            reading = None if within_cell else reading_of(layer)
            if reading is None:
                self.unknown.append(layer)
                return
            self.readings.append(reading)
            new = [one for one in loops if one not in self.loops]
            self.loops += new
            return
        if isinstance(layer, keras.layers.TimeDistributed):
            loops = (*loops, layer)
        recurrent = isinstance(layer, keras.layers.RNN)
        for inner in layer._flatten_layers(include_self=False, recursive=False):
            self._visit(inner, loops, within_cell or recurrent)


def keeps(layer) -> bool:
    """Does what the layer computes depend on statistics that it keeps?"""
    if isinstance(layer, PRESERVING) or not layer.built:
        return False
    if isinstance(layer, BatchNormalizedLSTM):
        return True
    inner = layer._flatten_layers(include_self=False)
    others = {id(w) for one in inner for w in one.weights}
    own = [w.name for w in layer.weights if id(w) not in others]
    return any(kind in name for name in own for kind in STATE)


def reading_of(layer) -> Any:
    """How statistics of a layer are measured and kept; None if unknown."""
    for kind, reading in READINGS.items():
        if isinstance(layer, kind):
            return reading(layer)
    if isinstance(layer, ComposedNormalization):
        statistics = layer.statistics
        if isinstance(statistics, Memory):
            return layer_statistics.Remembered(layer)
        own = not (regular(layer) or isinstance(layer, KNOWN))
        own = own or isinstance(statistics, Stochastic)
        own = own or getattr(layer, "crosses", False)
        if isinstance(statistics, (MovingAverage, Frozen)) and not own:
            if isinstance(layer.operation, Whiten):
                return layer_covariances.Covariance(layer)
            return layer_statistics.Measured(layer)
    elif per_channel(layer):
        return layer_statistics.MeanAndVariance(layer)
    return own_statistics.OwnState(layer) if remembers(layer) else None


def regular(layer, steps=STEPS) -> bool:
    """Does a composed layer do what its parts say and nothing else?"""
    return all(
        getattr(type(layer), step) is getattr(ComposedNormalization, step)
        for step in steps
    )


def per_channel(layer) -> bool:
    """Are there a mean and a spread for every channel of the input?"""
    if hasattr(layer, "kernel"):
        # Of what the kernel makes of it.
        return False
    mean = getattr(layer, "moving_mean", None)
    spread = getattr(layer, "moving_variance", None)
    if spread is None:
        spread = getattr(layer, "moving_stddev", None)
    if mean is None or spread is None or not hasattr(layer, "axis"):
        return False
    return len(mean.shape) == 1 and tuple(mean.shape) == tuple(spread.shape)


def remembers(layer) -> bool:
    """Can it be made to forget: is there a momentum, of moving averages?"""
    momentum = getattr(layer, "momentum", None)
    return isinstance(momentum, float) and bool(own_statistics.moving(layer))
