"""What works on maps: spatially adaptive, region, semantic attentive."""

import keras
import numpy as np

from golden.adapters.area import MOVING
from golden.adapters.area import moving
from golden.plans import Link
from golden.plans import Plan
from keras_norm.core import map_networks
from keras_norm.layers import SemanticAttentiveNormalization


def kernel(weight):
    """A kernel OIHW of a convolution whose own is HWIO."""
    return Link(
        weight,
        to=lambda values: np.transpose(values, (2, 3, 1, 0)),
        back=lambda values: np.transpose(values, (3, 2, 0, 1)),
    )


def convolution(role, name):
    """Links of a convolution that the row calls `role`."""
    return {
        f"{role} conv kernel OIHW": kernel(f"{name}/kernel"),
        f"{role} conv kernel OIHW, no bias": kernel(f"{name}/kernel"),
        f"{role} conv bias": f"{name}/bias",
    }


def spatially_adaptive(row):
    config = row.config
    area = config.get("normalization", "batch")
    arguments = {
        "area": area,
        "hidden_filters": config["nhidden"],
        "kernel_size": config["kernel_size"],
        "epsilon": row.epsilon,
    }
    links = {
        **convolution("shared", "hidden"),
        **convolution("gamma", "gamma"),
        **convolution("beta", "beta"),
    }
    if area == "batch":
        arguments.update(moving(row))
        links.update(MOVING)
    return Plan(arguments, links, affine=False)


def region(row):
    config = row.config
    arguments = {
        "area": config["statistics"],
        "masked_beta": config["masked_beta"],
        "epsilon": row.epsilon,
    }
    links = {}
    for i, name in enumerate(("foreground", "background")):
        links[f"gamma of the {name} (used as 1+gamma)"] = Link(
            "gamma", np.s_[i]
        )
        links[f"beta of the {name}"] = Link("beta", np.s_[i])
    return Plan(arguments, links, affine=False)


def learnable_region(row):
    config = row.config
    arguments = {
        "threshold": config["threshold"],
        "kernel_size": config["kernel"],
        "area": config["statistics"],
        "epsilon": row.epsilon,
    }
    links = {
        **convolution("map", "region"),
        **convolution("gamma", "gamma"),
        **convolution("beta", "beta"),
    }
    return Plan(arguments, links, affine=False)


class GivenPositions(SemanticAttentiveNormalization):
    """The positions come with the call; the layout is an output too."""

    def call(self, inputs, positions=None, training=None):
        self.given = keras.ops.cast(positions, "int32")[0]
        x = keras.ops.moveaxis(self.widened(inputs), self.axis, -1)
        layout = self.layout(map_networks.flattened(x), training)
        shape = (*keras.ops.shape(x)[:-1], self.num_entities)
        layout = keras.ops.reshape(layout, shape)
        y = super().call(inputs, training)
        return y, keras.ops.moveaxis(layout, -1, self.axis)

    def build(self, inputs_shape, positions_shape=None):
        super().build(inputs_shape)

    def draw(self, positions):
        return self.given

    def compute_output_shape(self, inputs_shape, positions_shape=None):
        layout = list(inputs_shape)
        layout[self.axis] = self.num_entities
        return tuple(inputs_shape), tuple(layout)


def semantic_attentive(row):
    config = row.config

    def make(axis, **keywords):
        return GivenPositions(
            num_entities=config["nClass"],
            temperature=config["kama"],
            orthogonal_weight=config["orth_lambda"],
            statistics={"code": "program"}.get(config["mean"], "paper"),
            axis=axis,
            epsilon=row.epsilon,
            **keywords,
        )

    links = {
        "entity filters 1x1 HWIO": "entity_kernel",
        "alpha, clipped to [0,1] in the call": "alpha",
        "output gain sigma": "gain",
    }
    for name in ("key", "query", "value"):
        links[f"{name} conv 1x1 kernel HWIO"] = f"{name}_kernel"
        links[f"{name} conv 1x1 bias"] = f"{name}_bias"
    return Plan(links=links, affine=False, make=make, outputs=("y", "layout"))


ADAPTERS = {
    "SpatiallyAdaptiveNormalization": spatially_adaptive,
    "RegionNormalization": region,
    "LearnableRegionNormalization": learnable_region,
    "SemanticAttentiveNormalization": semantic_attentive,
}
