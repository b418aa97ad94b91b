"""Saved on each backend, loaded on the others; and the other ways to copy.

The model holds every layer of the package in every setting of the contract's
table. `load_model` runs in safe mode: files hold data only.
"""

import copy
import json
import pickle
import zipfile
from collections import namedtuple

import everything
import keras
import numpy as np
import processes
import pytest

from contract.method import scramble
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.methods import representative
from contract.others import OTHERS
from keras_norm import areas
from keras_norm import layers
from keras_norm import operations
from keras_norm import recoveries
from keras_norm import statistics

# In one process of several (--dist loadgroup): they share what was saved.
together = pytest.mark.xdist_group("saving")
BACKEND = keras.backend.backend()
ELSEWHERE = [b for b in processes.BACKENDS if b != BACKEND]
# Layers with weights and state of every kind.
LEARNING = (
    "BatchNormalization",
    "GroupNormalization",
    "IterativeNormalization",
    "PopulationBatchNormalization",
    "SwitchableNormalization",
)


def same(layer, other):
    """Two layers or models with equal weights by name."""
    assert [w.name for w in layer.weights] == [w.name for w in other.weights]
    for w, v in zip(layer.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)


def ours(layer):
    """Is the layer of this package? What runs our cells is Keras' own."""
    return type(layer).__module__.startswith("keras_norm")


Saved = namedtuple("Saved", "folder methods model inputs expected readers")


@pytest.fixture(scope="module", params=everything.TIERS)
def saved(request, tmp_path_factory):
    """The saved model, what it answers here, and who reads it elsewhere."""
    folder = tmp_path_factory.mktemp("saved")
    model = everything.make(request.param)
    model.save(folder / "everything.keras")
    model.save_weights(folder / "everything.weights.h5")
    inputs = everything.data(model)
    np.savez(folder / "inputs.npz", **inputs)
    readers = {
        b: processes.start("load_everything.py", folder, backend=b)
        for b in ELSEWHERE
    }
    # Answered here while the others are starting.
    expected = everything.answer(model, inputs)
    return Saved(folder, request.param, model, inputs, expected, readers)


@pytest.fixture(scope="module")
def loaded(saved):
    """The same once the other backends, side by side, have answered."""
    processes.finish(*saved.readers.values())
    return saved


@together
@pytest.mark.parametrize("i", range(len(ELSEWHERE)))
def test_model_of_all_layers_answers_alike_on_the_other_backends(loaded, i):
    found = np.load(loaded.folder / f"outputs_{ELSEWHERE[i]}.npz")
    assert not everything.differences(
        loaded.expected, dict(found), loaded.methods
    )


@together
@pytest.mark.parametrize("i", range(len(ELSEWHERE)))
@pytest.mark.parametrize("kind", ["weights", "h5_weights"])
def test_weights_of_all_layers_are_the_same_on_the_others(loaded, i, kind):
    found = np.load(loaded.folder / f"{kind}_{ELSEWHERE[i]}.npz")
    weights = loaded.model.get_weights()
    assert len(found) == len(weights)
    for k, w in enumerate(weights):
        np.testing.assert_array_equal(found[str(k)], w)


@together
def test_model_of_all_layers_is_the_same_after_loading(saved):
    again = keras.models.load_model(saved.folder / "everything.keras")
    same(again, saved.model)
    configs = [
        {layer.name: layer.get_config() for layer in m.layers if ours(layer)}
        for m in (again, saved.model)
    ]
    assert configs[0] == configs[1]


def test_model_of_all_layers_holds_every_layer():
    tested = {method.layer for method in (*METHODS, *OTHERS)}
    public = {n for n in layers.__all__ if isinstance(getattr(layers, n), type)}
    assert public == tested


@together
def test_saved_configs_hold_data_only(saved):
    with zipfile.ZipFile(saved.folder / "everything.keras") as archive:
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


# Objects as arguments ---------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class Twice(keras.initializers.Initializer):
    """An initializer of a user's own."""

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, 2.0, dtype)


OBJECTS = {
    "parts": {
        "area": areas.Area("chunks", 2, size=3),
        "operation": operations.Standardize(unbiased=True),
        "statistics": statistics.MovingAverage(
            0.7, initializers={"mean": keras.initializers.Constant(0.3)}
        ),
        "recovery": recoveries.Affine(),
    },
    "names": {"area": "instance", "operation": "center", "recovery": "none"},
    "initializers": {
        "beta_initializer": keras.initializers.RandomNormal(seed=1),
        "gamma_initializer": Twice(),
    },
    "regularizers": {
        "beta_regularizer": keras.regularizers.L1L2(0.1, 0.2),
        "gamma_regularizer": "l2",
        "beta_constraint": keras.constraints.MinMaxNorm(0.1, 0.9),
        "gamma_constraint": "non_neg",
    },
    "policy": {"dtype": "mixed_bfloat16", "trainable": False, "name": "own"},
    "policy object": {"dtype": keras.DTypePolicy("mixed_float16")},
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_in_arguments_are_saved_as_data(case, tmp_path):
    layer = layers.ComposedNormalization(**OBJECTS[case])
    model = keras.Sequential([keras.Input((5, 8)), layer])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    twin = again.layers[0]
    assert twin.get_config() == layer.get_config()
    assert repr(twin) == repr(layer)
    for part in ("area", "operation", "statistics", "recovery"):
        assert getattr(twin, part) == getattr(layer, part)
    assert twin.dtype_policy == layer.dtype_policy
    assert twin.trainable == layer.trainable
    same(again, model)
    json.dumps(layer.get_config())


# Copies in this process -----------------------------------------------------


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
}


@pytest.mark.parametrize("method", [*representative(), *OTHERS], ids=str)
@pytest.mark.parametrize("way", COPIES)
def test_layer_is_copied(method, way):
    layer = method.built()
    twin = COPIES[way](layer)
    assert type(twin) is type(layer)
    if ours(layer):
        assert twin.get_config() == layer.get_config()
    same(twin, layer)
    before = layer.get_weights()
    scramble(twin, 9)
    for w, v in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)


@together
def test_model_of_all_layers_is_cloned(saved):
    clone = keras.models.clone_model(saved.model)
    names = [layer.name for layer in clone.layers]
    assert names == [layer.name for layer in saved.model.layers]
    clone.set_weights(saved.model.get_weights())
    same(clone, saved.model)


@pytest.mark.parametrize("method", [*first_of_each(), *OTHERS], ids=str)
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
