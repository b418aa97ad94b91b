"""What a metric says of a model, compiled or not."""

from typing import Any

import keras
import numpy as np

from keras_norm import errors

ACCURACY = ("accuracy", "acc")


def check_metric(metric) -> None:
    """Refuse what cannot be a metric."""
    known = callable(metric)
    if isinstance(metric, str):
        try:
            known = metric in ACCURACY or bool(keras.metrics.get(metric))
        except ValueError:
            known = False
    if not known:
        raise errors.received(
            "`metric` must be a Keras metric, its name, or a function of a "
            "model.",
            metric=metric,
        )


def is_function(metric) -> bool:
    """Is it a function of a model, and no metric?"""
    return not isinstance(metric, (str, type, keras.metrics.Metric))


def score_of(model, metric, validation) -> float:
    """What a metric says of a model."""
    if is_function(metric):
        return float(metric(model))
    meter = None
    for x, y, weights in validation:
        predicted = model(x, training=False)
        if meter is None:
            meter = meter_of(metric, y, predicted)
            meter.reset_state()
        meter.update_state(y, predicted, sample_weight=weights)
    if meter is None:
        raise errors.received(
            "`validation_data` must hold at least one batch.",
            validation_data=type(validation.data).__name__,
        )
    return float(np.asarray(keras.ops.convert_to_numpy(meter.result())))


def meter_of(metric, y, predicted) -> Any:
    """A Keras metric; what "accuracy" means depends on the targets."""
    if metric not in ACCURACY:
        found = keras.metrics.get(metric)
        if isinstance(found, keras.metrics.Metric):
            return found
        return keras.metrics.MeanMetricWrapper(found)
    shape, targets = tuple(predicted.shape), tuple(np.shape(y))
    if shape[-1] == 1:
        return keras.metrics.BinaryAccuracy()
    if len(targets) == len(shape) and targets[-1] == shape[-1]:
        return keras.metrics.CategoricalAccuracy()
    return keras.metrics.SparseCategoricalAccuracy()
