"""The graph of a model's layers, through nested models, and its copies."""

import keras
import numpy as np
from keras import layers

from keras_norm.models.graph_copies import rebuilt
from keras_norm.models.layer_graph import LayerGraph


def array(x):
    return keras.ops.convert_to_numpy(x)


def dense(name, units=3):
    return layers.Dense(units, name=name)


def nested():
    """A model in a model, one called twice, a bare operation, two outputs."""
    once = keras.Sequential(
        [keras.Input((3,)), dense("a"), layers.BatchNormalization(name="b")],
        name="once",
    )
    inner = keras.Input((3,))
    passes = keras.Model(inner, layers.Dropout(0.5, name="c")(inner))
    twice = keras.Sequential([keras.Input((3,)), dense("d")], name="twice")
    x = keras.Input((3,), name="x")
    y = passes(once(x, training=False))
    z = layers.Add(name="add")([twice(y), twice(x)])
    shared = dense("shared")
    z = keras.ops.relu(shared(shared(z)))
    return keras.Model({"x": x}, {"y": y, "z": z}, name="model")


def test_the_graph():
    model = nested()
    graph = LayerGraph(model)
    names = [call.name for call in graph.calls]
    assert sorted(names) == sorted(
        ["a", "b", "c", "d", "twice", "twice", "add", "shared", "shared"]
        + [model.operations[-1].name]
    )
    calls = {call.name: call for call in graph.calls}
    a, b, c = calls["a"], calls["b"], calls["c"]
    # Through the borders of the models.
    assert graph.inputs == (graph.tensor(model.inputs[0]),)
    assert graph.producer(graph.inputs[0]) is None
    assert a.inputs[0] is graph.inputs[0]
    assert graph.producer(b.inputs[0]) is a
    assert graph.only_consumer(a.outputs[0]) is b
    assert graph.only_consumer(b.outputs[0]) is c
    # Returned, and taken by another.
    assert graph.is_output(c.outputs[0])
    assert graph.only_consumer(c.outputs[0]) is None
    assert [t.name for t in graph.consumers(c.outputs[0])] == ["twice"]
    taking = [call.name for call in graph.consumers(graph.inputs[0])]
    assert sorted(taking) == ["a", "twice"]
    assert len(calls["add"].inputs) == 2
    # Called twice: its own calls end where it ends.
    (d,) = graph.calls_of(calls["d"].layer)
    assert graph.producer(d.inputs[0]) is None
    assert graph.is_output(d.outputs[0])
    assert len(graph.calls_of(calls["twice"].layer)) == 2
    assert len(graph.calls_of(calls["shared"].layer)) == 2
    # What `training` a call has, be it its model's.
    assert (a.training, b.training, d.training) == (False, False, None)
    order = [names.index(n) for n in ("a", "b", "c", "add")]
    assert order == sorted(order)


def test_a_copy():
    model = nested()
    for w in model.weights:
        w.assign(np.random.default_rng(0).uniform(0.5, 2, w.shape))
    x = {"x": np.ones((2, 3), "float32")}
    expected, found = model(x), rebuilt(model, lambda layer: None)(x)
    for name in expected:
        assert np.array_equal(array(expected[name]), array(found[name]))


def test_layers_left_out():
    model = nested()
    once = model.get_layer("once")
    passes = next(m for m in model.layers if m.name.startswith("functional"))
    removed = [*once.layers, passes.get_layer("c")]
    asked = []

    def replacement(layer):
        asked.append(layer.name)
        if layer.name != "d":
            return None
        new = layers.Dense(3, use_bias=False, name="d")
        new.build((None, 3))
        new.kernel.assign(2 * np.eye(3))
        return new

    made = rebuilt(model, replacement, removed)
    # A Sequential model of which nothing is left is left out.
    assert "once" not in [layer.name for layer in made.layers]
    assert isinstance(made.get_layer("twice"), keras.Sequential)
    assert not {"a", "b", "c"} & set(asked) and asked.count("d") == 1
    x = np.ones((2, 3), "float32")
    found = made({"x": x})
    assert np.array_equal(array(found["y"]), x)
    shared = model.get_layer("shared")
    z = array(shared(shared(keras.ops.convert_to_tensor(4 * x))))
    assert np.allclose(array(found["z"]), np.maximum(z, 0))
    again = keras.Model.from_config(made.get_config())
    assert [layer.name for layer in again.layers] == [
        layer.name for layer in made.layers
    ]


def test_inputs_of_other_shapes():
    """A model within another that gets more features than it did."""
    inner = keras.Sequential([keras.Input((3,)), dense("last", 2)])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, inner(dense("first", 3)(inputs)))

    def replacement(layer):
        new = type(layer).from_config(layer.get_config())
        if layer.name == "first":
            new.units = 5
        new.build((None, 4 if layer.name == "first" else 5))
        return new

    shapes = {id(inner.inputs[0]): (None, 5)}
    made = rebuilt(model, replacement, input_shapes=shapes)
    assert [w.shape for w in made.weights] == [(4, 5), (5,), (5, 2), (2,)]
    assert made(np.zeros((1, 4), "float32")).shape == (1, 2)
