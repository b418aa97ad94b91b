"""Saved on each backend, loaded on the others; and the other ways to copy.

The model holds every layer of the package in every setting of the contract's
table. `load_model` runs in safe mode: files hold data only.
"""

import copy
import json
import pickle
import zipfile

import everything
import keras
import numpy as np
import processes
import pytest
from contract.methods import METHODS
from contract.methods import scramble

from keras_norm import layers

BACKEND = keras.backend.backend()
OTHERS = [b for b in processes.BACKENDS if b != BACKEND]
TOLERANCE = 1e-5
# Layers with weights and state of every kind.
LEARNING = (
    "BatchNormalization",
    "GroupNormalization",
    "IterativeNormalization",
    "PopulationBatchNormalization",
    "SwitchableNormalization",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of the saved model, and what it answers here."""
    folder = tmp_path_factory.mktemp("saved")
    model = everything.make()
    model.save(folder / "everything.keras")
    model.save_weights(folder / "everything.weights.h5")
    inputs = everything.data(model)
    np.savez(folder / "inputs.npz", **inputs)
    readers = {
        b: processes.start("load_everything.py", folder, backend=b)
        for b in OTHERS
    }
    # Answered here while the others are starting.
    expected = everything.answer(model, inputs)
    return folder, model.get_weights(), expected, readers


@pytest.fixture(scope="module")
def loaded(saved):
    """Wait for the readers on the other backends, all at once."""
    folder, weights, expected, readers = saved
    processes.finish(*readers.values())
    return folder, weights, expected


@pytest.mark.parametrize("i", range(len(OTHERS)))
def test_model_of_all_layers_answers_alike_on_the_other_backends(loaded, i):
    folder, weights, expected = loaded
    found = np.load(folder / f"outputs_{OTHERS[i]}.npz")
    assert not everything.differences(expected, dict(found), TOLERANCE)


@pytest.mark.parametrize("i", range(len(OTHERS)))
@pytest.mark.parametrize("kind", ["weights", "h5_weights"])
def test_weights_of_all_layers_are_the_same_on_the_others(loaded, i, kind):
    folder, weights, _ = loaded
    found = np.load(folder / f"{kind}_{OTHERS[i]}.npz")
    assert len(found) == len(weights)
    for k, w in enumerate(weights):
        np.testing.assert_array_equal(found[str(k)], w)


def test_model_of_all_layers_answers_alike_after_loading(saved):
    folder, _, expected, _ = saved
    model = keras.models.load_model(folder / "everything.keras")
    inputs = dict(np.load(folder / "inputs.npz"))
    found = everything.answer(model, inputs)
    assert not everything.differences(expected, found, 1e-6)


def test_model_of_all_layers_holds_every_layer():
    tested = {method.layer for method in METHODS}
    public = {n for n in layers.__all__ if isinstance(getattr(layers, n), type)}
    assert public == tested


def test_saved_configs_hold_data_only(saved):
    folder, *_ = saved
    with zipfile.ZipFile(folder / "everything.keras") as archive:
        text = archive.read("config.json").decode()
    assert "__lambda__" not in text
    # Whatever is not Keras' own is registered by this package.
    found = set()

    def walk(node):
        if isinstance(node, dict):
            found.add(node.get("registered_name"))
            assert "<class" not in str(node.get("class_name"))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(json.loads(text))
    own = {name for name in found if name and ">" in name}
    assert own
    assert all(name.startswith("keras_norm>") for name in own), own


def test_trained_and_compiled_model_goes_on_after_loading(tmp_path):
    """State, optimizer and learning go on where they stopped."""
    methods = {m.layer: m for m in METHODS if m.layer in LEARNING}
    inputs = keras.Input((4, 3, 8))
    branches = [m.make()(inputs) for m in methods.values()]
    y = keras.layers.Dense(2)(keras.layers.Concatenate()(branches))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(y))
    # Not Adam: Keras stores the backend's own class for it on PyTorch.
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4, 3, 8)).astype("float32")
    target = rng.normal(size=(6, 2)).astype("float32")
    model.train_on_batch(x, target)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    losses = [m.train_on_batch(x, target) for m in (model, again)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    for w, v in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(w, v, rtol=1e-5, atol=1e-6)


# Copies in this process -----------------------------------------------------


def same(layer, other):
    """Two layers or models with equal weights by name."""
    assert [w.name for w in layer.weights] == [w.name for w in other.weights]
    for w, v in zip(layer.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
}


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("way", COPIES)
def test_layer_is_copied(method, way):
    layer = method.built()
    twin = COPIES[way](layer)
    assert type(twin) is type(layer)
    assert twin.get_config() == layer.get_config()
    same(twin, layer)
    before = layer.get_weights()
    scramble(twin, 9)
    for w, v in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)


def test_model_of_all_layers_is_cloned(saved):
    folder, weights, expected, _ = saved
    model = keras.models.load_model(folder / "everything.keras")
    clone = keras.models.clone_model(model)
    assert len(clone.layers) == len(model.layers)
    clone.set_weights(weights)
    inputs = dict(np.load(folder / "inputs.npz"))
    found = everything.answer(clone, inputs)
    assert not everything.differences(expected, found, 1e-6)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_weights_of_a_layer_in_a_model_in_a_model(method, tmp_path):
    """Files keep weights by the place of their layer, however deep."""

    def model():
        tensors = [
            keras.Input(a.shape[1:], dtype=a.dtype.name)
            for a in method.inputs()
        ]
        layer = method.make(name="layer")
        inner = keras.Model(tensors, layer(method.given(tensors)))
        tensors = [keras.Input(t.shape[1:], dtype=t.dtype) for t in tensors]
        return keras.Model(tensors, inner(tensors)), layer

    first, layer = model()
    scramble(layer, 5)
    first.save_weights(tmp_path / "model.weights.h5")
    second, _ = model()
    second.load_weights(tmp_path / "model.weights.h5")
    same(second, first)
    first.save(tmp_path / "model.keras")
    same(keras.models.load_model(tmp_path / "model.keras"), first)
