"""README: its code runs, its tables and its picture say what is the case."""

import contextlib
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_norm as kn

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BACKEND = keras.backend.backend()


def python_blocks():
    """The Python code of every section that has some."""
    found, section, block = {}, "", None
    for line in README.splitlines():
        if line.startswith("```"):
            if block is None:
                block = [line]
            else:
                if block[0] == "```python":
                    code = "\n".join(block[1:]) + "\n"
                    found.setdefault(section, []).append(code)
                block = None
        elif block is not None:
            block.append(line)
        elif line.startswith("#"):
            section = line.lstrip("# ")
    return found


BLOCKS = python_blocks()


def table(name):
    """The cells of the table between two markers, without its head."""
    _, _, rest = README.partition(f"<!-- {name}:begin -->")
    text, end, _ = rest.partition(f"<!-- {name}:end -->")
    assert end, f"README.md has no markers for {name}"
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in text.strip().splitlines()[2:]
    ]
    assert rows and len({len(row) for row in rows}) == 1
    return rows


# Code -----------------------------------------------------------------------


@pytest.mark.parametrize("section", BLOCKS)
def test_code_runs(section, tmp_path, monkeypatch):
    """Each block alone, in the folder of its section: one may leave files."""
    monkeypatch.chdir(tmp_path)
    for code in BLOCKS[section]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"README.md, {section}", "exec"), {})
        expected = re.findall(r"^#> (.*)$", code, re.M)
        if expected:
            assert printed.getvalue().splitlines() == expected


def test_code_has_one_block_per_kind():
    assert {
        "A layer",
        "A composed method",
        "A second input",
        "Save on one backend, load on another, export",
    } <= set(BLOCKS)


@pytest.mark.once
def test_saved_here_loads_on_another_backend(tmp_path, monkeypatch):
    others = {"tensorflow", "jax", "torch"} - {BACKEND}
    others = [name for name in others if importlib.util.find_spec(name)]
    if not others:
        pytest.skip("no other backend is installed")
    save, load = BLOCKS["Save on one backend, load on another, export"]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(save, names)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    np.save("x.npy", x)
    tail = "\nimport numpy\n"
    tail += "numpy.save('y.npy', model.predict(numpy.load('x.npy')))"
    # Its export is tested above.
    load = load.partition("\nif ")[0] + tail
    subprocess.run(
        [sys.executable, "-c", load],
        check=True,
        env={
            **os.environ,
            "KERAS_BACKEND": sorted(others)[0],
            "PYTHONPATH": str(ROOT),
        },
        stdout=subprocess.DEVNULL,
    )
    expected = names["model"].predict(x, verbose=0)
    np.testing.assert_allclose(np.load("y.npy"), expected, atol=1e-5)


# Commands, files, versions --------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"`?\b(ci/\w+)\b(?!\.)", README)))
)
def test_command_exists(command):
    assert os.access(ROOT / command, os.X_OK)


@pytest.mark.once
def test_options_of_ci_test_exist():
    options = re.findall(r"^\| `(--[\w-]+)", README, re.M)
    assert len(options) >= 4
    program = (ROOT / "ci" / "test").read_text(encoding="utf-8")
    for option in options:
        assert f'"{option}"' in program


@pytest.mark.once
def test_extras_exist():
    extras = set(re.findall(r"\.\[(\w+)\]", README))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert {"tensorflow", "jax", "torch"} <= extras
    assert extras <= set(project["project"]["optional-dependencies"])


@pytest.mark.once
def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            headings = re.findall(r"^#+ (.+)$", README, re.M)
            anchors = [
                re.sub(r"[^\w -]", "", h).lower().replace(" ", "-")
                for h in headings
            ]
            assert target[1:] in anchors
        elif not target.startswith("http"):
            assert (ROOT / target).exists()


# Tables ---------------------------------------------------------------------

# What a layer needs besides its defaults on an input (2, 8, 8, 8).
ARGUMENTS = {
    "CrossIterationConv2D": {"filters": 4, "kernel_size": 3},
    "CrossIterationDense": {"units": 4},
    "SwitchableBatchNormalization": {"widths": (4, 8)},
    "FineGrainedConv2D": {"filters": 4, "kernel_size": 3},
    "GroupNormalization": {"groups": 4},
    "GroupNormalization(groups=-1)": {"groups": -1},
    "GroupNormalization(16)": {"groups": 16},
    "BatchChannelNormalization": {"groups": 4},
    "BatchGroupNormalization": {"groups": 4},
    "ConditionalBatchNormalization": {"num_classes": 3},
    "ConditionalInstanceNormalization": {"num_classes": 3},
    "EvoNorm": {"groups": 4},
    "GroupWhitening": {"groups": 4},
    "InstanceLevelMetaNormalization": {"groups": 4, "key_group_size": 4},
    "DeconvolutionConv2D": {"filters": 4, "kernel_size": 3},
    "CosineDense": {"units": 4},
    "CosineConv2D": {"filters": 4, "kernel_size": 3},
    "DeconvolutionDense": {"units": 4},
    "MeanNormalizedDense": {"units": 4},
    "WhitenedDense": {"units": 4},
    "GroupwiseWhiteningColoring": {
        "groups": 4,
        "coloring_layers": 1,
        "mean_layers": 1,
    },
}
X = np.ones((2, 8, 8, 8), "float32")
LABELS, FEATURES = np.zeros(2, "int32"), X[:, 0, 0]
# What calls bring besides.
MORE = {
    "AdaptiveConvolutionNormalization": [FEATURES],
    "AdaptiveInstanceNormalization": [X],
    "AdaptiveLayerInstanceNormalization": [FEATURES, FEATURES],
    "ConditionalBatchNormalization": [LABELS],
    "ConditionalInstanceNormalization": [LABELS],
    "DomainWhitening": [LABELS],
    "DynamicInstanceNormalization": [FEATURES],
    "GroupwiseWhiteningColoring": [FEATURES],
    "RegionNormalization": [X[..., 0]],
    "SelfModulatedBatchNormalization": [FEATURES],
    "SpatiallyAdaptiveNormalization": [X[..., :3]],
    "WhiteningColoringTransform": [X],
}


def built(module, name):
    """A layer by its name in README, built."""
    layer = getattr(module, name.partition("(")[0])(**ARGUMENTS.get(name, {}))
    layer(X, *MORE.get(name, []))
    return layer


def check(layer, epsilon, momentum, weights):
    """A layer against its cells."""
    if re.match(r"[\d.]", epsilon):
        assert layer.epsilon == float(epsilon)
    parameters = inspect.signature(type(layer)).parameters
    given = parameters.get("momentum")
    default = None if given is None else given.default
    assert default == (None if momentum == "-" else float(momentum))
    names = ", ".join(weight.name for weight in layer.weights)
    assert weights == (names or "none")


def conventions():
    """(layer, in, epsilon, momentum, variance, axis, weights)."""
    layer = None
    for first, *others in table("conventions"):
        layer = first or layer
        yield layer, *others


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in conventions()
        if row[1].startswith(("keras_norm", "Keras"))
    ],
    ids=lambda row: f"{row[0]}-{row[1][:10]}",
)
def test_conventions(row):
    name, place, epsilon, momentum, _, axis, weights = row
    module = kn.layers if place == "keras_norm" else keras.layers
    layer = built(module, place.partition(": `")[2] or name)
    check(layer, epsilon, momentum, weights)
    default = inspect.signature(type(layer)).parameters["axis"].default
    assert default == int(axis.rpartition(" ")[2])


@pytest.mark.skipif(BACKEND != "torch", reason="needs PyTorch")
@pytest.mark.parametrize(
    "row",
    [row for row in conventions() if row[1] == "PyTorch"],
    ids=lambda row: row[0],
)
def test_conventions_of_pytorch(row):
    from torch import nn

    name, _, epsilon, momentum, _, _, weights = row
    module = {
        "BatchNormalization": lambda: nn.BatchNorm2d(8),
        "LayerNormalization": lambda: nn.LayerNorm(8),
        "GroupNormalization": lambda: nn.GroupNorm(4, 8),
        "InstanceNormalization": lambda: nn.InstanceNorm2d(8),
        "RMSNormalization": lambda: nn.RMSNorm(8),
        "LocalResponseNormalization": lambda: nn.LocalResponseNorm(5),
    }[name]()
    if name == "LocalResponseNormalization":
        assert epsilon == f"k = {module.k:g}"
    elif name == "RMSNormalization":
        assert module.eps is None
    else:
        assert module.eps == float(epsilon)
    if re.match(r"[\d.]", momentum):
        assert module.momentum == float(momentum)
    names = ", ".join(module.state_dict())
    assert weights.partition(" by default")[0] == (names or "none")


@pytest.mark.parametrize("row", table("others"), ids=lambda row: row[0])
def test_other_layers(row):
    name, epsilon, momentum, _, weights, _ = row
    check(built(kn.layers, name), epsilon, momentum, weights)


@pytest.mark.parametrize("row", table("wrappers"), ids=lambda row: row[0])
def test_wrappers(row):
    name, _, epsilon, scale, added, _ = row
    plain = keras.layers.Dense(4)
    layer = getattr(kn.layers, name)(plain)
    x = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
    before = keras.ops.convert_to_numpy(plain(x))
    after = keras.ops.convert_to_numpy(layer(x))
    check(layer, epsilon, "-", f"kernel, bias, {added}".replace(", none", ""))
    assert (scale == "-") == (not layer.scale)
    if scale == "norm":
        assert np.abs(after - before).max() < 1e-5
    elif scale != "-":
        g = keras.ops.convert_to_numpy(layer.g)
        assert np.allclose(g, float(scale), atol=1e-6)


@pytest.mark.parametrize("row", table("recurrent"), ids=lambda row: row[0])
def test_recurrent_layers(row):
    name, _, epsilon, momentum, added, _ = row
    layer = getattr(kn.layers, name)(4)
    layer.build((2, 5, 8))
    check(layer, epsilon, momentum, f"kernel, recurrent_kernel, bias, {added}")


def test_tables_have_every_layer():
    listed = {row[0] for row in conventions()}
    listed |= {row[0] for row in table("recurrent")}
    listed |= {row[0] for row in table("others")}
    listed |= {row[0] for row in table("wrappers")}
    # Their arguments are no statistics.
    without = {
        "ComposedNormalization",
        "GaussianPoincareActivation",
        "LayerNormalizedGRUCell",
        "LayerNormalizedLSTMCell",
        "MomentShortcut",
        "TLU",
    }
    assert listed == set(kn.layers.__all__) - without


@pytest.mark.parametrize("row", table("accuracy"), ids=lambda r: r[1] + r[0])
def test_accuracy(row):
    mean, name, *_, claimed = row
    rng = np.random.default_rng(0)
    x = (float(mean) + rng.normal(size=(8, 16, 16, 64))).astype("float32")
    axes, wide = {
        "BatchNormalization": ((0, 1, 2), x),
        "LayerNormalization": (3, x),
        "GroupNormalization(16)": ((1, 2, 4), x.reshape(8, 16, 16, 16, 4)),
    }[name]
    exact = wide.astype("float64")
    exact = exact - exact.mean(axes, keepdims=True)
    exact = exact / np.sqrt(np.square(exact).mean(axes, keepdims=True) + 1e-5)
    layer = getattr(kn.layers, name.partition("(")[0])(
        epsilon=1e-5, **ARGUMENTS.get(name, {})
    )
    y = layer(x, training=True) if "Batch" in name else layer(x)
    error = keras.ops.convert_to_numpy(y) - exact.reshape(x.shape)
    # Machines add in different orders.
    assert np.abs(error).max() <= 2 * float(claimed)


# The picture ----------------------------------------------------------------


def picture():
    """ci/areas_picture_draw.py as a module."""
    path = ROOT / "ci" / "areas_picture_draw.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PICTURE = picture()


def over(x, axes):
    """Means over the axes, in the shape of x."""
    return np.broadcast_to(x.mean(axes, keepdims=True), x.shape)


def of_groups(x, groups, axes):
    """Means over the axes and over consecutive channels."""
    wide = x.reshape(*x.shape[:-1], groups, -1)
    return over(wide, (*axes, 4)).reshape(x.shape)


def of_neighbours(x):
    """Means over 3 x 3 positions, as far as they exist, and two channels."""
    y = np.empty_like(x)
    for n, i, j, c in np.ndindex(x.shape):
        rows, columns = slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2)
        first = c - c % 2
        y[n, i, j, c] = x[n, rows, columns, first : first + 2].mean()
    return y


def in_parts(function, x, size):
    """The function of consecutive samples, `size` at a time."""
    parts = [x[i : i + size] for i in range(0, len(x), size)]
    return np.concatenate([function(part) for part in parts])


# What PICTURE.AREAS says, without the areas.
MEANS = {
    "batch": lambda x: over(x, (0, 1, 2)),
    "layer": lambda x: over(x, (1, 2, 3)),
    "instance": lambda x: over(x, (1, 2)),
    "position": lambda x: over(x, (3,)),
    "group": lambda x: of_groups(x, 2, (1, 2)),
    "batch group": lambda x: in_parts(
        lambda part: of_groups(part, 2, (0, 1, 2)), x, -(-len(x) // 2)
    ),
    "ghost batch": lambda x: in_parts(lambda part: over(part, (0, 1, 2)), x, 2),
    "window": of_neighbours,
}


def test_picture_has_every_area():
    assert list(PICTURE.AREAS) == list(MEANS)
    _, _, text = README.partition("| area | ")
    shown = re.findall(r"^\| ([a-z ]+) \| ", text.partition("\n\n")[0], re.M)
    assert shown == list(MEANS)


@pytest.mark.parametrize("title", MEANS)
@pytest.mark.parametrize(
    "shape, probe",
    [
        (PICTURE.SHAPE, PICTURE.PROBE),
        (PICTURE.SHAPE, (0, 0, 0, 0)),
        (PICTURE.SHAPE, (3, 3, 3, 5)),
        # The last parts and chunks are shorter.
        ((5, 4, 4, 6), (4, 0, 3, 2)),
        ((5, 4, 4, 6), (2, 2, 1, 5)),
    ],
)
def test_picture_shows_the_mean_of_a_one_hot_input(title, shape, probe):
    x = np.zeros(shape)
    x[probe] = 1.0
    expected = MEANS[title](x)
    area = PICTURE.AREAS[title]
    means = PICTURE.means(area, shape, probe)
    np.testing.assert_allclose(means, expected, atol=1e-7)
    shared = PICTURE.shared(area, shape, probe)
    np.testing.assert_array_equal(shared, expected > 0)


def test_picture_is_drawn_from_these_areas():
    content = PICTURE.PATH.read_bytes()
    assert PICTURE.digest().encode() in content, (
        "ci/areas.png is out of date: run ci/areas_picture"
    )
