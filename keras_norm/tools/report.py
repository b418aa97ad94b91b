"""What a model's normalization layers have seen, and whether that will do."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_norm import errors
from keras_norm.core.update_count import UpdateCount
from keras_norm.core.update_count import horizon
from keras_norm.models.model_data import Batches
from keras_norm.models.model_layers import Found
from keras_norm.models.own_statistics import OwnState
from keras_norm.models.statistics_pass import StatisticsPass
from keras_norm.models.statistics_pass import frozen
from keras_norm.tools.recompute_statistics import ProgressBar


@dataclass(frozen=True)
class LayerReport:
    """One layer of a report.

    Attributes:
        name: the layer's name.
        layer: name of its class.
        trainable: are gamma and beta trained?
        frozen: do its statistics stay as they are in training?
        updates: of the moving statistics; None where that is not known.
        momentum: fraction kept at an update; None where there is none.
        needed: updates after which 5 % of the initial values are left.
        mean_gap: mean over the channels of |mean - moving mean| / moving
            deviation, of the data given; None without data.
        variance_gap: mean over the channels of |ln(variance / moving
            variance)|, likewise.
    """

    name: str
    layer: str
    trainable: bool
    frozen: bool
    updates: int | None = None
    momentum: float | None = None
    needed: int | None = None
    mean_gap: float | None = None
    variance_gap: float | None = None


class ModelReport(list):
    """A `LayerReport` for every layer with statistics; prints as a table."""

    def __str__(self) -> str:
        """The table."""
        columns = {
            "layer": [row.name for row in self],
            "class": [row.layer for row in self],
            "trainable": ["yes" if row.trainable else "no" for row in self],
            "statistics": ["frozen" if row.frozen else "free" for row in self],
            "updates": [shown(row.updates) for row in self],
            "needed": [shown(row.needed) for row in self],
            "momentum": [shown(row.momentum) for row in self],
        }
        if any(row.variance_gap is not None for row in self):
            columns["mean gap"] = [shown(row.mean_gap) for row in self]
            columns["variance gap"] = [shown(row.variance_gap) for row in self]
        texts = [[head, *entries] for head, entries in columns.items()]
        widths = [max(map(len, entries)) for entries in texts]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
            for line in zip(*texts, strict=True)
        ]
        return "\n".join(line.rstrip() for line in lines)


def shown(value) -> str:
    """A number for the table."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def report(
    model: keras.Model,
    data=None,
    steps: int | None = None,
    batch_size: int = 32,
    verbose: int = 0,
) -> ModelReport:
    """Tell of every layer with statistics what it has seen.

    For a model that is good in training and bad in inference: too few updates
    for the momentum, statistics that were never updated, frozen layers, and
    with `data` how far the moving statistics are from those of the data.

    Args:
        model: a built model.
        data: what `fit` takes, or None; see `recompute_statistics`.
        steps: number of batches; None: all. Iterators need it.
        batch_size: samples of a batch of arrays.
        verbose: 1 shows a progress bar.

    Returns:
        A list of `LayerReport`, in the order of the layers; it prints as a
        table.

    Raises:
        ValueError: a model without normalization layers with statistics;
            data that cannot be read.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchNormalization(momentum=0.9, name="bn")
    >>> model = keras.Sequential([keras.Input((3,)), layer])
    >>> for _ in range(20):
    ...     y = model(np.ones((8, 3), "float32"), training=True)
    >>> print(kn.tools.report(model))
    layer  class               trainable  statistics  updates  needed  momentum
    bn     BatchNormalization  yes        free        20       30      0.9

    Note: updates are counted for layers of this package, since they were
    built and as long as no statistics came from a file or a tool; for Keras'
    BatchNormalization they are the steps of the model's optimizer. There are
    no gaps of layers whose statistics are not those of their input, as in
    recurrent cells and of kernels: these infer.
    """
    if not model.built:
        raise errors.received(
            "`model` must be built.",
            "Call it on a batch of data, or `model.build(input_shape)`.",
            model=model.name,
        )
    found = Found(model)
    keeping = {id(r.layer) for r in found.readings} | set(
        map(id, found.unknown)
    )
    if not keeping:
        raise errors.received(
            "`model` must have normalization layers with statistics.",
            model=model.name,
        )
    # What only a training step measures has no mean and spread to compare.
    measured = [r.layer for r in found.readings if not isinstance(r, OwnState)]
    gaps = {}
    if data is not None and measured:
        run = StatisticsPass(model, measured, include_frozen=True)
        batches = Batches(data, steps, batch_size)
        bar = ProgressBar(batches.number, verbose)
        gaps = {
            id(reading.layer): gap(reading, measurement)
            for reading, measurement in run.collect(
                batches, progress=bar.update
            ).items()
        }
        bar.finish()
    optimizer = getattr(model, "optimizer", None)
    return ModelReport(
        row(layer, optimizer, gaps.get(id(layer), (None, None)))
        for layer in model._flatten_layers()
        if id(layer) in keeping
    )


def row(layer, optimizer, gaps) -> LayerReport:
    """The report of one layer."""
    statistics = getattr(layer, "statistics", layer)
    momentum = getattr(statistics, "momentum", None)
    if hasattr(statistics, "acting_momentum"):
        momentum = statistics.acting_momentum(layer)
    if not isinstance(momentum, (int, float)):
        momentum = None
    count, updates = getattr(layer, "updates", None), None
    if isinstance(count, UpdateCount):
        updates = count.read()
    elif optimizer is not None and not frozen(layer):
        steps = int(keras.ops.convert_to_numpy(optimizer.iterations))
        updates = steps or None
    return LayerReport(
        name=layer.name,
        layer=type(layer).__name__,
        trainable=bool(layer.trainable and layer.trainable_weights),
        frozen=frozen(layer),
        updates=updates,
        momentum=momentum,
        needed=None if momentum is None else needed_updates(momentum),
        mean_gap=gaps[0],
        variance_gap=gaps[1],
    )


def needed_updates(momentum):
    """How many updates the momentum asks for; None: there is no end."""
    return horizon(momentum) if momentum < 1 else None


def gap(reading, found):
    """(of the means, of the variances); None where there are none of both.

    Args:
        reading: of the layer.
        found: what it would keep of the data.
    """
    new = found.values
    if "spread" not in new:
        return None, None
    kept = reading.kept(between=False)
    old = kept.values
    if "spread" not in old:
        return None, None
    spread = np.maximum(old["spread"], np.finfo("float32").tiny)
    # Deviations are their own roots.
    variance = "spread" in kept.about
    ratio = np.maximum(new["spread"], np.finfo("float32").tiny) / spread
    ratio = ratio if variance else np.square(ratio)
    apart = None
    if "shift" in old:
        deviation = np.sqrt(spread) if variance else spread
        distance = np.abs(new["shift"] - old["shift"])
        apart = float(np.mean(distance / deviation))
    return apart, float(np.mean(np.abs(np.log(ratio))))
