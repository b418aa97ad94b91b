"""Statistics: population, renorm, stochastic, for each width."""

import keras
import numpy as np
from keras import ops

import keras_norm as kn
from golden.adapters.area import MOVING
from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan
from keras_norm.core.stochastic import Stochastic


def population(row):
    """used = (w batch + (1 - w) state) / (1 - w^t), w being the lag."""
    lag = row.config.get("bn_lag", 0.0)
    correction = row.config.get("bias_correction")
    # Without a lag the program uses the batch alone.
    corrected = lag > 0 and correction not in (None, "none")
    arguments = {
        "weight": lag or 1.0,
        "bias_correction": correction if corrected else None,
        "epsilon": row.epsilon,
        **momentum(row),
    }
    return Plan(arguments, {**MOVING, "number of training calls": "step"})


def renorm(row):
    """One set of averages: the row's two sets agree."""
    clipping = row.config["renorm_clipping"]
    # The method has one bound for both sides.
    assert np.isclose(clipping["rmin"] * clipping["rmax"], 1.0)

    def deviation(variance):
        return np.sqrt(variance + row.epsilon)

    def variance(deviation):
        return np.maximum(deviation**2 - row.epsilon, 0.0)

    links = {
        "moving mean": "moving_mean",
        "moving mean (renorm set)": "moving_mean",
        "max(moving_stddev^2-eps, 0)": Link(
            "moving_stddev", to=deviation, back=variance
        ),
        "moving sqrt(var+eps)": "moving_stddev",
        "moving sqrt(var+eps) (renorm set)": "moving_stddev",
    }
    arguments = {
        "rmax": clipping["rmax"],
        "dmax": clipping["dmax"],
        "epsilon": row.epsilon,
        **momentum(row),
    }
    return Plan(arguments, links)


STOCHASTIC = {
    "moving mean": "moving_mean",
    "exp(moving log variance)": Link(
        "moving_log_variance", to=np.log, back=np.exp
    ),
    "moving E[mean]": "moving_mean",
    "moving E[mean^2]": "moving_squared_mean",
    "moving E[log(var+log_eps)]": "moving_log_variance",
    "moving E[log^2]": "moving_squared_log_variance",
}


class Given(Stochastic):
    """Draws the row's noise, with the program's least variance."""

    row = None

    def noise(self, layer, *like):
        return [
            ops.convert_to_tensor(self.row.arrays[name][None], dtype=t.dtype)
            for name, t in zip(("noise_mean", "noise_var"), like, strict=True)
        ]

    def deviation(self, mean, second):
        floor = self.row.config["sample_variance_floor"]
        return ops.sqrt(ops.maximum(second - ops.square(mean), floor))


def stochastic(row):
    """Three ways of inference, all from the state after training."""

    def inference(name):
        def probe(plan, x, axis):
            # The formula does not ask for a generator.
            layer = plan.layer_of(axis, inference="moving", dtype=str(x.dtype))
            layer.build(x.shape)
            weights = {
                w.name: np.array(ops.convert_to_numpy(w)) for w in layer.weights
            }
            roles = {**row.parameters, **row.state}
            for array, role in roles.items():
                if not array.startswith("state0_"):
                    plan.links[role].write(weights, row.arrays[array])
            for w in layer.weights:
                w.assign(weights[w.name])
            if name == "sample":
                layer.statistics = Given(inference="sample")
                layer.statistics.row = row
            return ops.convert_to_numpy(layer(x, training=False))

        return probe

    return Plan(
        {
            "epsilon": row.epsilon,
            "inference": row.config["inference_strategy"],
            **momentum(row),
        },
        STOCHASTIC,
        probes={
            "y_running": inference("moving"),
            "y_sample": inference("sample"),
        },
    )


def switchable(row):
    """All widths, one after the other, in one layer."""
    widths = row.config["widths"]
    made = {}

    class Each(keras.layers.Layer):
        """The same layer on an input of each width."""

        def __init__(self, axis, **keywords):
            super().__init__(**keywords)
            self.switches = kn.layers.SwitchableBatchNormalization(
                widths,
                axis=axis,
                epsilon=row.epsilon,
                unbiased_moving_variance=row.unbiased_moving_variance,
                name="switches",
                **momentum(row),
                **keywords,
            )
            made["layer"] = self

        def build(self, first_shape):
            self.switches.build(first_shape)

        def call(self, first, *others, training=False):
            inputs = (first, *others)
            return [self.switches(x, training=training) for x in inputs]

    def inference(i):
        def probe(plan, x, axis):
            x = np.moveaxis(row.arrays[f"x_{i}"], 1, axis).astype(x.dtype)
            switches = made["layer"].switches
            return ops.convert_to_numpy(switches(x, training=False))

        return probe

    links, indices = {}, range(len(widths))
    for i, width in enumerate(widths):
        for role, name in {
            "gamma": "gamma",
            "beta": "beta",
            "moving mean": "moving_mean",
            "moving variance": "moving_variance",
        }.items():
            links[f"{role} of the switch {i}"] = Link(
                f"switches/{name}", (i, slice(width))
            )
    return Plan(
        links=links,
        affine=False,
        make=Each,
        outputs=tuple(f"y_{i}" for i in indices),
        probes={f"y_eval_{i}": inference(i) for i in indices},
    )


ADAPTERS = {
    "PopulationBatchNormalization": population,
    "BatchRenormalization": renorm,
    "StochasticBatchNormalization": stochastic,
    "SwitchableBatchNormalization": switchable,
}
