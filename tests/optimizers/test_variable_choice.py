"""Which variables transforms are for, and what their units are."""

import json

import keras
import pytest
from keras import layers

import keras_norm as kn

# Of paths, layers and shapes.
pytestmark = pytest.mark.once


def network():
    inputs = keras.Input((6, 6, 4))
    y = layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise")(inputs)
    y = layers.Conv2DTranspose(3, 2, name="transposed")(y)
    y = layers.BatchNormalization(name="normalization")(y)
    y = layers.SeparableConv2D(4, 2, name="separable")(y)
    y = layers.Reshape((25, 4))(y)
    y = layers.MultiHeadAttention(2, 3, name="attention")(y, y)
    y = layers.LSTM(3, name="recurrent")(y)
    return keras.Model(inputs, layers.Dense(2, name="dense")(y))


# Axes over which the weights of one output neuron run, by layer's arithmetic.
REDUCED = {
    "depthwise/kernel": (0, 1),
    "transposed/kernel": (0, 1, 3),
    "separable/depthwise_kernel": (0, 1),
    "separable/pointwise_kernel": (0, 1, 2),
    "attention/query/kernel": (0,),
    "attention/key/kernel": (0,),
    "attention/value/kernel": (0,),
    "attention/attention_output/kernel": (0, 1),
    "recurrent/lstm_cell/kernel": (0,),
    "recurrent/lstm_cell/recurrent_kernel": (0,),
    "dense/kernel": (0,),
}


def short(path, names=REDUCED):
    return next((n for n in names if f"/{path}".endswith(f"/{n}")), None)


def kernels_of(optimizer):
    """{short path: reduced axes} of the first transform."""
    found = optimizer._chain.kernels[0].values()
    return {short(k.path) or k.path: k.reduced for k in found}


def test_layers_tell_the_units(tmp_path):
    model = network()
    transform = kn.optimizers.centralize()
    optimizer = kn.optimizers.GradientTransform("sgd", transform, where=model)
    optimizer.build(model.trainable_variables)
    assert kernels_of(optimizer) == REDUCED
    # Data only, the same before and after it is built, for another model too.
    config = json.loads(json.dumps(optimizer.get_config()))
    again = kn.optimizers.GradientTransform.from_config(config)
    other = network()
    again.build(other.trainable_variables)
    assert kernels_of(again) == REDUCED
    assert again.get_config()["where"] == config["where"]
    # Clipping is for all variables.
    clip = kn.optimizers.GradientTransform(
        "sgd", kn.optimizers.adaptive_clip(), where=model
    )
    clip.build(model.trainable_variables)
    assert len(clip._chain.kernels[0]) == len(model.trainable_variables)
    biases = [k for k in clip._chain.kernels[0].values() if "bias" in k.path]
    assert all(len(k.reduced) == len(k.shape) for k in biases)


def test_normalizations_are_no_blocks_unless_named():
    model = network()
    variables = model.trainable_variables
    layer = model.get_layer("normalization")
    for where, wanted in (
        (None, False),
        (model, False),
        (layer, True),
        (["normalization", "dense"], True),
    ):
        rule = kn.optimizers.block_normalize("layer", where=where)
        optimizer = kn.optimizers.GradientTransform("sgd", rule)
        optimizer.build(variables)
        found = optimizer._chain.kernels[0].values()
        assert any("gamma" in k.path for k in found) == wanted
        if where in (None, model):
            # All but gamma and beta.
            assert len(found) == len(variables) - 2


def test_convolutions_only():
    model = network()
    wanted = [name for name in REDUCED if REDUCED[name][:2] == (0, 1)]
    wanted.remove("attention/attention_output/kernel")
    # By the layers; by rank alone.
    for where in (model, None):
        optimizer = kn.optimizers.GradientTransform(
            "sgd", kn.optimizers.centralize(True), where=where
        )
        optimizer.build(model.trainable_variables)
        assert list(kernels_of(optimizer)) == wanted


@pytest.mark.parametrize(
    "where, make, wanted",
    [
        (None, "centralize", ["kernel", "kernel"]),
        ("embedding", "centralize", ["embeddings"]),
        ("first", "centralize", ["kernel"]),
        ("first", "variable", ["kernel"]),
        ("first/bias", "variable", ["bias"]),
        (lambda v: "first" in v.path, "variable", ["kernel", "bias"]),
        (lambda v: "first" in v.path, "centralize", ["kernel"]),
        ("first", "clip", ["kernel", "bias"]),
        (None, "clip", ["embeddings", *("kernel", "bias") * 2]),
    ],
)
def test_where(where, make, wanted):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Embedding(9, 5, name="embedding"),
            layers.Dense(3, name="first"),
            layers.Dense(3, name="second"),
        ]
    )
    own = {
        "centralize": kn.optimizers.centralize,
        "clip": kn.optimizers.adaptive_clip,
        "variable": kn.optimizers.block_normalize,
    }[make](where=where)
    optimizer = kn.optimizers.GradientTransform("sgd", own)
    optimizer.build(model.trainable_variables)
    paths = [k.path for k in optimizer._chain.kernels[0].values()]
    assert [p.split("/")[-1] for p in paths] == wanted
    if isinstance(where, str):
        assert all(f"{where}/" in f"{p}/" for p in paths)
