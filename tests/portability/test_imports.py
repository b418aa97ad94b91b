"""What the sources may and must contain, read from the sources.

Only Keras is imported, except in the two files that need what Keras has not:
sums over replicas and gradients.
"""

import ast
import inspect
import sys
from pathlib import Path

import keras
import pytest

import keras_norm
from keras_norm import layers

pytestmark = pytest.mark.once

PACKAGE = Path(keras_norm.__file__).parent
SOURCES = {
    str(p.relative_to(PACKAGE)): p for p in sorted(PACKAGE.rglob("*.py"))
}
BACKENDS = {"tensorflow", "jax", "jaxlib", "torch", "flax", "tf"}
MAY_IMPORT_BACKENDS = {"core/distribution.py", "analysis/autodiff.py"}
# Inaccurate on PyTorch (E[x^2] - E[x]^2); see core/moments.py.
INACCURATE = {"moments", "var", "std"}

sources = pytest.mark.parametrize("source", SOURCES)


def parsed(source):
    return ast.parse(SOURCES[source].read_text(), source)


def imported(tree):
    """Everything that is imported, anywhere, also by name at run time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            at_run_time = function.endswith(("import_module", "__import__"))
            if at_run_time and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


@sources
def test_no_backend_is_imported(source):
    found = {name.split(".")[0] for name in imported(parsed(source))}
    if source not in MAY_IMPORT_BACKENDS:
        assert not found & BACKENDS


def test_exceptions_are_not_a_dead_list():
    for source in MAY_IMPORT_BACKENDS & set(SOURCES):
        found = {name.split(".")[0] for name in imported(parsed(source))}
        assert found & BACKENDS, source


@sources
def test_nothing_private_of_keras_is_used(source):
    for name in imported(parsed(source)):
        assert not name.startswith("keras.src"), name
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Attribute):
            assert not ast.unparse(node).startswith("keras.src")


@sources
def test_inaccurate_operations_are_not_used(source):
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in INACCURATE:
            owner = ast.unparse(node.value)
            assert not owner.endswith(("ops", "numpy", "nn")), ast.unparse(node)
    for name in imported(tree):
        if name.startswith("keras.ops."):
            assert name.split(".")[-1] not in INACCURATE


@sources
def test_imports_are_from_keras_numpy_and_the_standard_library(source):
    allowed = {"keras", "numpy", "keras_norm", *sys.stdlib_module_names}
    if source in MAY_IMPORT_BACKENDS:
        allowed |= BACKENDS
    if source.startswith("analysis/"):
        # Inside `plot` alone, with a message where it is missing.
        allowed.add("matplotlib")
        for node in parsed(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "matplotlib" not in ast.unparse(node)
    found = {name.split(".")[0] for name in imported(parsed(source)) if name}
    assert found <= allowed


@sources
def test_nothing_is_printed(source):
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and source != "catalog/__main__.py":
            assert ast.unparse(node.func) != "print"


@sources
def test_every_public_thing_has_a_docstring(source):
    tree = parsed(source)
    assert ast.get_docstring(tree), "the module has none"
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), node.name


# The public layers ------------------------------------------------------------

LAYERS = {
    name: getattr(layers, name)
    for name in layers.__all__
    if isinstance(getattr(layers, name), type)
}
public_layers = pytest.mark.parametrize("name", LAYERS)


def test_all_public_names_are_layers():
    assert set(LAYERS) == set(layers.__all__)
    for cls in LAYERS.values():
        assert issubclass(cls, keras.layers.Layer)


def test_every_registered_name_is_of_this_package():
    registered = {
        name: thing
        for name, thing in keras.saving.get_custom_objects().items()
        if getattr(thing, "__module__", "").startswith("keras_norm")
    }
    for name, thing in registered.items():
        assert name == f"keras_norm>{thing.__name__}"


@public_layers
def test_layer_is_registered_under_the_package(name):
    cls = LAYERS[name]
    assert cls.__name__ == name
    assert keras.saving.get_registered_name(cls) == f"keras_norm>{name}"
    assert keras.saving.get_registered_object(f"keras_norm>{name}") is cls


def own_arguments(cls):
    """The arguments that the constructor names."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    kinds = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return [p.name for p in parameters if p.kind in kinds and p.name != "self"]


@public_layers
def test_docstring_of_a_layer_is_complete(name):
    cls = LAYERS[name]
    # Of its own, not that of its base.
    text = inspect.cleandoc(vars(cls)["__doc__"])
    for section in ("Call arguments:", "Raises:", "Example:"):
        assert f"\n{section}\n" in text, section
    assert ">>> " in text
    if not own_arguments(cls):
        return
    assert "\nArgs:\n" in text
    arguments = text.split("\nArgs:\n")[1].split("\n\n")[0]
    described = arguments.replace(" and ", ", ")
    for argument in own_arguments(cls):
        assert f"    {argument}:" in described, argument


@public_layers
def test_docstring_of_a_layer_says_which_and_where_from(name):
    text = inspect.cleandoc(vars(LAYERS[name])["__doc__"])
    first = text.split("\n\n")[0]
    assert "=" in first or name == "ComposedNormalization"
    module = inspect.getdoc(inspect.getmodule(LAYERS[name]))
    assert "\nReference:\n" in text or name == "UnitNormalization"
    assert module


# Keras' Dense and Conv2D have no default for them either; wrappers wrap a layer
# or an activation; a slimmable network has widths of its own.
REQUIRED = (
    "activation",
    "filters",
    "kernel_size",
    "layer",
    "num_classes",
    "units",
    "widths",
)


@public_layers
def test_signature_has_no_arguments_without_a_default(name):
    """`layer()` makes the method as published."""
    parameters = inspect.signature(LAYERS[name].__init__).parameters.values()
    for p in list(parameters)[1:]:
        several = p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if not several and p.name not in REQUIRED:
            assert p.default is not p.empty, p.name
