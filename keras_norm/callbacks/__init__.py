"""Callbacks for `fit`: schedules of layers, statistics after training."""

from keras_norm.callbacks.double_forward import DoubleForward
from keras_norm.callbacks.effective_learning_rate import EffectiveLearningRate
from keras_norm.callbacks.momentum_schedule import MomentumSchedule
from keras_norm.callbacks.precise_statistics import PreciseStatistics
from keras_norm.callbacks.renorm_schedule import RenormSchedule
from keras_norm.callbacks.sparsestmax_radius import SparsestmaxRadius

__all__ = [
    "DoubleForward",
    "EffectiveLearningRate",
    "MomentumSchedule",
    "PreciseStatistics",
    "RenormSchedule",
    "SparsestmaxRadius",
]
