"""Areas: batch, layer, instance, group, position, batch group."""

import keras
import numpy as np

import keras_norm as kn
from golden.plans import Plan

MOVING = {
    "moving mean": "moving_mean",
    "moving variance": "moving_variance",
}


def momentum(row):
    """{"momentum": …} where the row has one."""
    if row.keep_momentum is None:
        return {}
    return {"momentum": row.keep_momentum}


def moving(row):
    """Arguments of a layer with a moving variance."""
    unbiased = bool(row.unbiased_moving_variance)
    return {**momentum(row), "unbiased_moving_variance": unbiased}


def several_axes(row, **plan):
    """A plan for statistics and parameters over the last axes as stored."""
    shape = row.config.get("normalized_shape") or [1]
    count = 1 if isinstance(shape, int) else len(shape)
    axes = tuple(range(-count, 0)) if count > 1 else None
    return Plan(stored_axis=-1, axes=axes, **plan)


def batch(row):
    return Plan({"epsilon": row.epsilon, **moving(row)}, MOVING)


def renorm(row):
    """The five weights of Keras' batch normalization with `renorm=True`."""
    arguments = {
        "epsilon": row.epsilon,
        "renorm": True,
        "renorm_clipping": row.config.get("renorm_clipping"),
        "renorm_momentum": row.config.get("renorm_momentum", row.keep_momentum),
        **momentum(row),
    }
    links = {
        "moving mean": "moving_mean",
        "max(moving_stddev^2-eps, 0)": "moving_variance",
        "moving sqrt(var+eps)": "moving_stddev",
        "moving mean (renorm set)": "renorm_mean",
        "moving sqrt(var+eps) (renorm set)": "renorm_stddev",
    }
    return Plan(arguments, links, layer="BatchNormalization")


def layer(row):
    return several_axes(row, arguments={"epsilon": row.epsilon})


def instance(row):
    return Plan({"epsilon": row.epsilon})


def group(row):
    return Plan({"groups": row.config["num_groups"], "epsilon": row.epsilon})


def positional(row):
    return Plan(
        {
            "epsilon": row.epsilon,
            "unbiased": row.unbiased,
            "return_moments": True,
        },
        outputs=("y", "mean", "std"),
    )


def moment_shortcut(row):
    """Both halves, with what `between` names in the middle."""
    between = row.config.get("between")
    if between in (None, "none", "identity"):
        between = "linear"
    between = keras.activations.get(between)

    class Pair(keras.layers.Layer):
        def __init__(self, axis, **keywords):
            super().__init__(**keywords)
            self.extract = kn.layers.PositionalNormalization(
                axis=axis,
                epsilon=row.epsilon,
                unbiased=row.unbiased,
                return_moments=True,
                **keywords,
            )
            self.inject = kn.layers.MomentShortcut(**keywords)

        def call(self, inputs):
            y, mean, std = self.extract(inputs)
            return self.inject(between(y), mean, std)

    return Plan(make=Pair)


def batch_group(row):
    groups = row.config["num_groups"]
    order = None
    if row.config.get("channel_groups") == "interleaved":
        # Channel c is in group c % groups; ours are consecutive.
        order = np.arange(row.channels).reshape(-1, groups).T.reshape(-1)
    return Plan(
        {
            "groups": groups,
            "batch_groups": row.config.get("batch_groups", 1),
            "mode": row.config.get("mode", "grouped"),
            "epsilon": row.epsilon,
            **moving(row),
        },
        MOVING,
        order=order,
    )


ADAPTERS = {
    "BatchNormalization": batch,
    "LayerNormalization": layer,
    "InstanceNormalization": instance,
    "GroupNormalization": group,
    "PositionalNormalization": positional,
    "MomentShortcut": moment_shortcut,
    "BatchGroupNormalization": batch_group,
}
CONTAINED = {"BatchRenormalization": renorm}
