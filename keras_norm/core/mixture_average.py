"""A Gaussian mixture as state: an average of those fitted to the batches."""

import keras
from keras import ops

from keras_norm.core.gaussian_mixture import Mixture
from keras_norm.core.state import read
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Weight
from keras_norm.core.statistics import moved
from keras_norm.core.statistics import put


@keras.saving.register_keras_serializable("keras_norm")
class MixtureAverage(MovingAverage):
    """Moving averages of a mixture; the first one is taken as it is.

    Args:
        components: how many.
        momentum: fraction kept.
    """

    def __init__(self, components=3, momentum=0.99):
        super().__init__(momentum)
        self.components = components

    def weights(self, operation, shapes) -> list:
        """The mixture, and whether there is one."""
        k, (channels,) = self.components, shapes()[0]
        return [
            Weight("mixture_weight", (k,), keras.initializers.Constant(1 / k)),
            Weight("mixture_mean", (k, channels), "zeros"),
            Weight("mixture_variance", (k, channels), "ones"),
            Weight("initialized", (), "zeros"),
        ]

    def initial_share(self, layer, updates) -> float:
        """Nothing is left of what was before the first."""
        return 0.0

    def mixture(self, layer, dtype) -> Mixture:
        """As kept: means are absolute."""
        return Mixture(
            read(layer.mixture_weight, dtype),
            read(layer.mixture_mean, dtype),
            read(layer.mixture_variance, dtype),
        )

    def absorb(self, layer, old, new, seen) -> None:
        """Move towards a mixture.

        Args:
            layer: whose state it is.
            old: the state as it was.
            new: the mixture of the batch, means absolute.
            seen: (1, C) or True: which channels were.
        """
        begun = read(layer.initialized, new.mean.dtype)
        keep = ops.cast(begun > 0, begun.dtype) * self.momentum
        some = seen if seen is True else ops.any(seen)
        for name, before, value, known in zip(
            Mixture._fields, old, new, (some, seen, seen), strict=True
        ):
            value = moved(before, value, keep, known)
            value = value[None] if name == "weight" else value
            put(getattr(layer, f"mixture_{name}"), value)
        now = ops.ones_like(begun)
        now = now if some is True else ops.where(some, now, begun)
        layer.initialized.assign(ops.cast(now, layer.initialized.dtype))
