"""Where the numbers come from: the batch, moving averages, both.

A statistics object declares the weights it needs, `moving_<name>` for each
statistic of the operation; the layer creates them flat, in Keras' order.
"""

from collections import namedtuple

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core.moments import bessel

Weight = namedtuple("Weight", "name shape initializer dtype", defaults=(None,))
# What normalizes: compact shift (relative to the area's base) and spread, and
# an optional (factor, addend) on the normalized data (batch renormalization).
Selected = namedtuple("Selected", "shift spread correction", defaults=(None,))


def check_momentum(name, value) -> float:
    """A fraction kept: within [0, 1]."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise errors.received(
            f"`{name}` is the fraction kept and must lie in [0, 1].",
            f"PyTorch's momentum is 1 - {name}: 0.1 there is 0.9 here.",
            **{name: value},
        )
    return float(value)


@keras.saving.register_keras_serializable("keras_norm")
class Batch(configuration.Part):
    """The input itself, in training and inference; no state."""

    def weights(self, operation, shapes) -> list:
        """Weights to create, in order.

        `shapes()` gives the shapes of the operation's shift and spread.
        """
        return []

    def measures(self, training) -> bool:
        """Are the moments of the input needed?"""
        return True

    def select(self, layer, shift, spread, averages) -> Selected:
        """Statistics that normalize a training step; may update the state."""
        return Selected(shift, spread)


@keras.saving.register_keras_serializable("keras_norm")
class MovingAverage(Batch):
    """Batch statistics in training, their moving averages in inference.

    moving <- momentum * moving + (1 - momentum) * batch, for every part that
    saw anything; parts of weight 0 (empty batch, all masked) keep theirs.

    Args:
        momentum: fraction kept, in [0, 1].
        unbiased: store the variance divided by m - 1, as PyTorch does; biased
            as Keras does otherwise.
        initializers: {"mean": ..., "variance": ...}: initial state, defaults
            0 and 1.
    """

    def __init__(self, momentum=0.9, unbiased=False, initializers=None):
        self.momentum = check_momentum("momentum", momentum)
        self.unbiased = unbiased
        self.initializers = initializers or {}

    def weights(self, operation, shapes) -> list:
        """`moving_<name>` for shift and spread."""
        initial = zip(operation.names, shapes(), operation.initial, strict=True)
        return [
            Weight(f"moving_{n}", shape, self.initializers.get(n, i))
            for n, shape, i in initial
            if n
        ]

    def measures(self, training) -> bool:
        """Only training looks at the batch."""
        return training

    def select(self, layer, shift, spread, averages) -> Selected:
        """The batch normalizes; the state follows it."""
        self.follow(layer, shift, spread, averages)
        return Selected(shift, spread)

    def state(self, layer, dtype):
        """(shift, spread) as kept, compact."""
        return tuple(
            n and compact(getattr(layer, f"moving_{n}"), dtype)
            for n in layer.operation.names
        )

    def follow(self, layer, shift, spread, averages, momentum=None) -> None:
        """Move the state towards the batch."""
        names = layer.operation.names
        seen = averages.merged_weight() > 0
        keep = self.momentum if momentum is None else momentum
        shift, spread = self.stored(layer, shift, spread, averages)
        for name, value in zip(names, (shift, spread), strict=True):
            if name:
                move(getattr(layer, f"moving_{name}"), value, seen, keep)

    def stored(self, layer, shift, spread, averages):
        """Batch statistics in the form the state keeps: absolute, merged."""
        if shift is not None:
            shift = averages.merged(averages.base + shift)
        if spread is not None:
            already = getattr(layer.operation, "unbiased", False)
            if self.unbiased and not already:
                spread = bessel(spread, averages.entries)
            spread = averages.merged(spread)
        return shift, spread


def compact(variable, dtype):
    """A state variable as a compact (parts, groups) tensor."""
    return ops.reshape(ops.cast(variable, dtype), (-1, variable.shape[-1]))


def move(variable, value, seen, keep) -> None:
    """Variable <- keep * variable + (1 - keep) * value, where seen."""
    value = ops.stop_gradient(value)
    old = compact(variable, value.dtype)
    new = ops.where(seen, old * keep + value * (1.0 - keep), old)
    variable.assign(ops.cast(ops.reshape(new, variable.shape), variable.dtype))


@keras.saving.register_keras_serializable("keras_norm")
class Renorm(MovingAverage):
    """Batch renormalization as Keras 3.15 has it: five weights of state.

    y = (x - mean) / stddev * r + d with r = stddev / renorm_stddev and
    d = (mean - renorm_mean) / renorm_stddev clipped and without gradient.

    Args:
        momentum: fraction kept of the statistics of inference.
        renorm_momentum: fraction kept of those of training.
        clipping: {"rmin": ..., "rmax": ..., "dmax": ...}, all optional.
        unbiased: keep the unbiased variance.
        initializers: as for `MovingAverage`.
    """

    def __init__(
        self,
        momentum=0.99,
        renorm_momentum=0.99,
        clipping=None,
        unbiased=False,
        initializers=None,
    ):
        super().__init__(momentum, unbiased, initializers)
        self.renorm_momentum = check_momentum(
            "renorm_momentum", renorm_momentum
        )
        self.clipping = self.check_clipping(clipping or {})

    @staticmethod
    def check_clipping(clipping):
        """The clipping, checked."""
        keys = ["rmax", "rmin", "dmax"]
        if set(clipping) - set(keys):
            raise errors.received(
                "Received invalid keys for `renorm_clipping` argument. "
                f"Supported keys are {keys}.",
                renorm_clipping=clipping,
            )
        low, high, most = (clipping.get(k) for k in ("rmin", "rmax", "dmax"))
        if low is not None and high is not None and high < low:
            raise errors.received(
                "rmax should be greater than rmin in `renorm_clipping`.",
                renorm_clipping=clipping,
            )
        if most is not None and most < 0:
            raise errors.received(
                "dmax should be non-negative in `renorm_clipping`.",
                renorm_clipping=clipping,
            )
        return dict(clipping)

    def weights(self, operation, shapes) -> list:
        """Moving mean and variance, then three more."""
        mean, variance = super().weights(operation, shapes)
        root = _RootOf(variance.initializer)
        return [
            mean,
            variance,
            Weight("moving_stddev", mean.shape, root),
            Weight("renorm_mean", mean.shape, mean.initializer),
            Weight("renorm_stddev", mean.shape, root),
        ]

    def select(self, layer, shift, spread, averages) -> Selected:
        """The batch, corrected towards the state before the step."""
        dtype, epsilon = spread.dtype, layer.epsilon
        stddev = ops.sqrt(spread + epsilon)
        held_mean = compact(layer.renorm_mean, dtype)
        held_stddev = ops.maximum(
            compact(layer.renorm_stddev, dtype), epsilon**0.5
        )
        r = ops.stop_gradient(stddev / held_stddev)
        d = (shift - (held_mean - averages.base)) / held_stddev
        d = ops.stop_gradient(d)
        if self.clipping.get("rmin") is not None:
            r = ops.maximum(r, self.clipping["rmin"])
        if self.clipping.get("rmax") is not None:
            r = ops.minimum(r, self.clipping["rmax"])
        if self.clipping.get("dmax") is not None:
            d = ops.clip(d, -self.clipping["dmax"], self.clipping["dmax"])
        seen = averages.merged_weight() > 0
        mean, variance = self.stored(layer, shift, spread, averages)
        stddev = ops.sqrt(variance + epsilon)
        move(layer.renorm_mean, mean, seen, self.renorm_momentum)
        move(layer.renorm_stddev, stddev, seen, self.renorm_momentum)
        move(layer.moving_mean, mean, seen, self.momentum)
        move(layer.moving_stddev, stddev, seen, self.momentum)
        # Inference divides by sqrt(moving_variance + epsilon).
        moved = compact(layer.moving_stddev, dtype)
        variance = ops.maximum(ops.square(moved) - epsilon, 0.0)
        move(layer.moving_variance, variance, seen, 0.0)
        return Selected(shift, spread, (r, d))


class _RootOf(keras.initializers.Initializer):
    """The square root of what another initializer gives."""

    def __init__(self, initializer):
        self.initializer = initializer

    def __call__(self, shape, dtype=None):
        inner = keras.initializers.get(self.initializer)
        if isinstance(inner, keras.initializers.Initializer):
            inner = inner.clone()
        return ops.sqrt(inner(shape, dtype=dtype))


@keras.saving.register_keras_serializable("keras_norm")
class Population(MovingAverage):
    """Training normalizes by a mixture of the batch and the state.

    used = w * batch + (1 - w) * state, the state without gradient.

    Args:
        weight: w; None is 1 - momentum, so that `used` is the updated state;
            "diminishing" is 1/t with t = 1 at the first step, and the state
            becomes `used`.
        momentum: fraction kept of the state.
        bias_correction: None, or "dinh": used / (1 - w^t).
        gradient: "batch" lets it flow through the batch's share, "none" makes
            the statistics constants.
    """

    def __init__(
        self, weight=None, momentum=0.9, bias_correction=None, gradient="batch"
    ):
        super().__init__(momentum)
        if weight not in (None, "diminishing"):
            known = isinstance(weight, (int, float))
            if not known or not 0 <= weight <= 1:
                raise errors.received(
                    "`weight` of the batch must be a number in [0, 1], "
                    "'diminishing', or None for 1 - momentum.",
                    weight=weight,
                )
        if bias_correction not in (None, "dinh"):
            raise errors.unknown_name(
                "bias_correction", bias_correction, [None, "dinh"]
            )
        if bias_correction and (weight == 1 or weight == "diminishing"):
            raise errors.received(
                "`bias_correction` divides by 1 - weight^t and needs a weight "
                "below 1.",
                weight=weight,
            )
        if gradient not in ("batch", "none"):
            raise errors.unknown_name("gradient", gradient, ["batch", "none"])
        self.weight, self.bias_correction = weight, bias_correction
        self.gradient = gradient

    def weights(self, operation, shapes) -> list:
        """The moving statistics, then the number of steps taken."""
        step = Weight("step", (), "zeros", "int32")
        return [*super().weights(operation, shapes), step]

    def select(self, layer, shift, spread, averages) -> Selected:
        """The mixture; the state follows."""
        dtype = averages.dtype
        time = ops.cast(layer.step, dtype) + 1.0
        w = {None: 1.0 - self.momentum, "diminishing": 1.0 / time}.get(
            self.weight, self.weight
        )
        seen = averages.merged_weight() > 0
        base = averages.merged(averages.base)
        old_shift, old_spread = self.state(layer, dtype)

        def mixed(new, old):
            if new is None:
                return None
            if self.gradient == "none":
                new = ops.stop_gradient(new)
            return w * new + (1.0 - w) * ops.stop_gradient(old)

        # The state's mean relative to the base, like the batch's.
        used_shift = shift
        if shift is not None:
            used_shift = mixed(shift, old_shift - base)
        used_spread = mixed(spread, old_spread)
        keep = 1.0 - w if self.weight == "diminishing" else self.momentum
        self.follow(layer, shift, spread, averages, keep)
        if self.bias_correction:
            correction = 1.0 / (1.0 - w**time)
            used_spread = used_spread * correction
            if used_shift is not None:
                # (base + shift) * correction, still relative to the base.
                used_shift = used_shift * correction + base * (correction - 1.0)
        any_seen = ops.cast(ops.any(seen), layer.step.dtype)
        layer.step.assign(layer.step + any_seen)
        return Selected(used_shift, used_spread)


NAMES = {"batch": Batch, "moving": MovingAverage, "renorm": Renorm}
NAMES["population"] = Population


def get(identifier) -> Batch:
    """Statistics from a name, an object or a config."""
    return configuration.get(identifier, Batch, "statistics", NAMES)
