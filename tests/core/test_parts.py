"""Areas, operations, statistics and recoveries as values.

Their constructor arguments are their whole state: equality, repr, config and
the way back are checked for every one of them, and the errors of wrong ones.
"""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_norm import areas
from keras_norm import layers
from keras_norm import operations
from keras_norm import recoveries
from keras_norm import statistics
from keras_norm.core import configuration
from keras_norm.core import moments
from keras_norm.core import registry

CHAPTERS = (areas, operations, statistics, recoveries)

# Constructor arguments other than the defaults, for every part.
ARGUMENTS = {
    "Area": [
        {"rows": "each", "columns": "all"},
        {"rows": "each", "columns": 4},
        {"rows": "chunks", "size": 3},
        {"rows": "parts", "columns": 2, "size": 3},
        {"rows": "gates", "size": 5, "synchronized": True},
    ],
    "Position": [{"axes": (1, 2)}, {"axes": (-1,)}],
    "Standardize": [{"unbiased": True}],
    "Center": [],
    "Scale": [{"epsilon_outside": True}],
    "ScaleByDeviation": [],
    "Newton": [{"group_size": 4, "iterations": 7}],
    "ZCA": [{"group_size": 4, "running": "matrix"}],
    "PCA": [{"group_size": 4}],
    "Cholesky": [{"shrink": True, "unbiased": True}],
    "Decorrelate": [{"running": "matrix"}],
    "WhitenContent": [{"method": "newton", "threshold": 0.1, "iterations": 7}],
    "LpDeviation": [
        {"p": 1},
        {"p": "inf", "top_k": 3},
        {"p": 1.5, "gaussian_correction": False},
    ],
    "RangeDeviation": [{"num_chunks": 4, "scale_fix": "paper"}],
    "Deviation": [{"kind": "sqd", "alpha": 0.6}],
    "Batch": [],
    "MovingAverage": [
        {"momentum": 0.5, "unbiased": True},
        {"initializers": {"mean": "ones"}},
        {"initializers": {"mean": keras.initializers.Constant(2.0)}},
    ],
    "Renorm": [{"momentum": 0.5, "clipping": {"rmax": 3.0, "dmax": 5.0}}],
    "Lagging": [{"momentum": 0.5, "unbiased": True}],
    "Population": [
        {"weight": 0.3, "bias_correction": "dinh", "gradient": "none"},
        {"weight": "diminishing"},
    ],
    "BatchRenorm": [{"rmax": 2.0, "dmax": 1.0, "momentum": 0.5}],
    "Composition": [{"momentum": 0.5}, {"power": 0.5}],
    "GhostAverage": [{"momentum": 0.5, "update": "mean"}],
    "Memory": [{"memory_size": 2, "decay": 0.5}],
    "MomentumAverage": [{"momentum": 0.5}],
    "Nothing": [],
    "Affine": [],
    "Conditional": [{"num_classes": 3, "hidden_units": 8}],
    "Style": [{"epsilon": 1e-3, "unbiased": True}],
    "ColorByStyle": [{"method": "cholesky", "threshold": 0.1}],
    "Generated": [],
    "Coloring": [
        {"num_classes": 3, "num_bases": 2},
        {
            "color_initializer": keras.initializers.Constant(2.0),
            "bias_constraint": keras.constraints.NonNeg(),
            "use_bias": False,
        },
    ],
    "DenseStyle": [{"equalized_learning_rate": False, "gain": 2.0}],
    "AffineMixture": [
        {"num_mixtures": 3, "attention_activation": "softmax"},
        {"attention_normalization": None, "momentum": 0.5},
    ],
    "ClassTables": [{"num_classes": 3}],
    "EnhancedByMean": [],
    "FromKeyGroups": [{"key_group_size": 4, "unbiased": False}],
    "FromLatent": [
        {"hidden_units": None},
        {"kernel_initializer": keras.initializers.Constant(2.0)},
    ],
    "GeneratedMaps": [{"kernel_size": (3, 5), "interpolation": "bilinear"}],
    "SelfScaled": [{"multiplier": 2.0, "k": 0.3}],
}


def part_classes():
    """Every public part."""
    public = [getattr(c, name) for c in CHAPTERS for name in c.__all__]
    bases = (operations.Operation, operations.Whiten)
    return [c for c in public if c not in bases]


PARTS = [
    pytest.param(c, arguments, id=f"{c.__name__}-{i}")
    for c in part_classes()
    for i, arguments in enumerate([{}, *ARGUMENTS.get(c.__name__, [])])
]


def test_every_part_is_tested():
    assert {c.__name__ for c in part_classes()} == set(ARGUMENTS)


@pytest.mark.parametrize(("cls", "arguments"), PARTS)
def test_part_is_its_arguments(cls, arguments):
    part = cls(**arguments)
    assert part == cls(**arguments)
    assert hash(part) == hash(cls(**arguments))
    assert part != object()
    if arguments:
        assert part != cls()
    for name, value in arguments.items():
        assert getattr(part, name) == value


@pytest.mark.parametrize(("cls", "arguments"), PARTS)
def test_part_survives_json(cls, arguments):
    part = cls(**arguments)
    config = keras.saving.serialize_keras_object(part)
    assert config["registered_name"] == f"keras_norm>{cls.__name__}"
    assert set(part.get_config()) == set(configuration.arguments(cls))
    text = json.dumps(config)
    # Plain data only: nothing that safe mode would refuse.
    assert "__lambda__" not in text
    again = keras.saving.deserialize_keras_object(
        json.loads(text), safe_mode=True
    )
    assert type(again) is cls
    assert again == part
    assert hash(again) == hash(part)
    assert cls.from_config(part.get_config()) == part


@pytest.mark.parametrize(("cls", "arguments"), PARTS)
def test_repr_is_the_call_that_makes_the_part(cls, arguments):
    part = cls(**arguments)
    names = {c.__name__: c for c in part_classes()}
    assert repr(part).startswith(f"{cls.__name__}(")
    assert eval(repr(part), names) == part
    if not arguments:
        assert repr(part) == f"{cls.__name__}()"


def test_repr_of_a_layer_says_what_it_is_made_of():
    layer = layers.ComposedNormalization(
        area=areas.Area("chunks", size=3),
        operation="center",
        recovery="none",
        name="ghost",
    )
    assert repr(layer) == (
        "<ComposedNormalization name=ghost: Area(rows='chunks', size=3) x "
        "Center() x MovingAverage() x Nothing()>"
    )


# Names ----------------------------------------------------------------------

KINDS = {
    "area": (registry.area, registry.AREAS),
    "operation": (registry.operation, registry.OPERATIONS),
    "statistics": (registry.statistics, registry.STATISTICS),
    "recovery": (registry.recovery, registry.RECOVERIES),
}
NAMED = [
    pytest.param(argument, name, id=f"{argument}-{name}")
    for argument, (_, names) in KINDS.items()
    for name in names
]


@pytest.mark.parametrize(("argument", "name"), NAMED)
def test_names_objects_classes_and_configs_give_the_same(argument, name):
    get, names = KINDS[argument]
    part = get(name)
    assert part == names[name]()
    assert get(part) is part
    assert get(keras.saving.serialize_keras_object(part)) == part
    assert get(type(part)) == type(part)()
    layer = layers.ComposedNormalization(**{argument: name})
    assert getattr(layer, argument) == part


@pytest.mark.parametrize("argument", KINDS)
def test_unknown_names_are_refused_with_the_nearest(argument):
    get, names = KINDS[argument]
    name = next(iter(names))
    with pytest.raises(ValueError, match=f"Did you mean '{name}'") as error:
        get(name[:-1] + "q")
    for allowed in names:
        assert repr(allowed) in str(error.value)
    assert f"`{argument}` must be one of" in str(error.value)
    assert f"Received: {argument}=" in str(error.value)


@pytest.mark.parametrize("argument", KINDS)
@pytest.mark.parametrize(
    "wrong",
    [3, ["batch"], {}, keras.layers.Dense, "other part", "other config"],
    ids=str,
)
def test_what_is_no_part_of_that_kind_is_refused(argument, wrong):
    other = (
        operations.Center() if argument != "operation" else recoveries.Affine()
    )
    if wrong == "other part":
        wrong = other
    elif wrong == "other config":
        wrong = keras.saving.serialize_keras_object(other)
    get, _ = KINDS[argument]
    with pytest.raises(ValueError, match=f"`{argument}` must be one of"):
        get(wrong)


ERRORS = [
    (areas.Area, {"rows": "chunk"}, "`rows` must be one of .*Did you mean"),
    (areas.Area, {"columns": "some"}, "`columns` must be 'each', 'all' or"),
    (areas.Area, {"columns": 0}, "`columns` must be .*columns=0"),
    (areas.Area, {"columns": True}, "`columns` must be .*columns=True"),
    (areas.Area, {"columns": 2.0}, "`columns` must be .*columns=2.0"),
    (areas.Area, {"rows": "chunks"}, "`size` must be a positive integer"),
    (areas.Area, {"rows": "parts", "size": 0}, "`size` must be .*size=0"),
    (statistics.MovingAverage, {"momentum": 1.5}, "`momentum` is the fraction"),
    (statistics.MovingAverage, {"momentum": "x"}, "`momentum` is the fraction"),
    (statistics.Renorm, {"renorm_momentum": -1}, "`renorm_momentum` is the"),
    (statistics.Population, {"weight": 2}, "`weight` of the batch must be"),
    (statistics.Population, {"gradient": "all"}, "`gradient` must be one of"),
    (operations.LpDeviation, {"p": 0}, "`p` must be a positive number"),
    (operations.LpDeviation, {"top_k": 0}, "`top_k` must be a positive"),
    (operations.RangeDeviation, {"num_chunks": 0}, "`num_chunks` must be"),
    (operations.RangeDeviation, {"scale_fix": "x"}, "`scale_fix` must be one"),
    (operations.Deviation, {"kind": "st"}, "`deviation` must be one of"),
    (operations.Deviation, {"alpha": 1.0}, "`alpha` must lie between"),
    (operations.Newton, {"group_size": 0}, "`group_size` must be an integer"),
    (operations.Newton, {"iterations": -1}, "`iterations` must be an integer"),
    (recoveries.Conditional, {"num_classes": 0}, "`num_classes` must be"),
    (recoveries.Conditional, {"hidden_units": 1.5}, "`hidden_units` must be"),
]


@pytest.mark.parametrize(("cls", "arguments", "message"), ERRORS)
def test_wrong_arguments_are_refused(cls, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        cls(**arguments)
    assert "Received: " in str(error.value)


@pytest.mark.parametrize("cls", part_classes())
def test_misspelt_keywords_are_refused(cls):
    with pytest.raises(TypeError, match="epsilom|takes no arguments"):
        cls(epsilom=1)


# Statistics that cannot be kept ----------------------------------------------


@pytest.mark.parametrize("area", ["instance", "layer", "group", "position"])
@pytest.mark.parametrize("kept", ["moving", "renorm", "population"])
def test_statistics_of_single_samples_cannot_be_kept(area, kept):
    layer = layers.ComposedNormalization(area=area, statistics=kept)
    with pytest.raises(ValueError, match="`statistics` must be 'batch'"):
        layer.build((None, 8, 64))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (3, r"Use 2 or 4, or -1"),
        (16, "cannot be more than the number of channels"),
    ],
)
def test_groups_must_divide_the_channels(columns, message):
    layer = layers.ComposedNormalization(area=areas.Area("all", columns))
    with pytest.raises(ValueError, match=message):
        layer.build((None, 8))


# Gates ----------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["each", "all", 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_gates_weigh_the_samples_of_each_part(columns, masked, mean):
    random = np.random.default_rng(0)
    x = (random.normal(size=(5, 7, 4)) + mean).astype("float32")
    gates = random.dirichlet(np.ones(3), 5).astype("float32")
    w = np.ones((5, 7))
    if masked:
        w = random.integers(0, 2, (5, 7)).astype("float64")
    table = moments.measure(
        ops.convert_to_tensor(x), mask=w.astype("float32") if masked else None
    )
    averages = areas.Area("gates", columns, size=3).over(
        table, ops.convert_to_tensor(gates)
    )
    shift, variance = operations.Standardize().measure(table, averages, 0.0)
    shift = ops.convert_to_numpy(averages.base + shift)
    variance = ops.convert_to_numpy(variance)

    groups = {"each": 4, "all": 1}.get(columns, columns)
    cut = x.astype("float64").reshape(5, 7, groups, -1)
    for part in range(3):
        weight = gates[:, part, None, None, None] * w[:, :, None, None]
        weight = np.broadcast_to(weight, cut.shape)
        total = weight.sum((0, 1, 3))
        wanted = (weight * cut).sum((0, 1, 3)) / total
        np.testing.assert_allclose(shift[part], wanted, rtol=1e-6, atol=1e-5)
        square = (cut - wanted[:, None]) ** 2
        wanted = (weight * square).sum((0, 1, 3)) / total
        np.testing.assert_allclose(variance[part], wanted, rtol=1e-4)
    # Spreading mixes the parts of a sample by its gates.
    compact = random.normal(size=(3, groups)).astype("float32")
    spread = ops.convert_to_numpy(
        averages.spread(ops.convert_to_tensor(compact))
    )
    wanted = np.repeat(gates @ compact, 4 // groups, axis=1)
    spread = np.broadcast_to(spread, wanted.shape)
    np.testing.assert_allclose(spread, wanted, rtol=1e-5, atol=1e-6)
