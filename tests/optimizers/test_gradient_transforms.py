"""Transforms of gradients against the formulas in NumPy float64."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from oracles import gradients as oracle
from oracles import optimizers as inners

rng = np.random.default_rng(11)
SHAPE = (6, 3)
KERNEL, BIAS = rng.normal(size=SHAPE), rng.normal(size=3)
GRADIENTS = rng.normal(size=(3, *SHAPE))
BIASES = rng.normal(size=(3, 3))
# Three steps in float32 of some ten products each; Adam divides by roots.
ROUNDING = 5e-6
# What a transform does to the gradient of the kernel and of the bias.
RULES = {
    "centralize": (
        lambda: kn.optimizers.centralize(),
        lambda g, w: oracle.centralized(g, (0,)) if g.ndim > 1 else g,
    ),
    "clip": (
        lambda: kn.optimizers.adaptive_clip(0.5),
        lambda g, w: oracle.clipped(
            g, w, (0,) if g.ndim > 1 else None, 0.5, 1e-3
        ),
    ),
    "variable": (
        lambda: kn.optimizers.block_normalize(),
        lambda g, w: oracle.normalized([g])[0] if g.ndim > 1 else g,
    ),
    "ratio": (
        lambda: kn.optimizers.block_normalize(ratio=0.02),
        lambda g, w: oracle.normalized([g], [w], 0.02)[0] if g.ndim > 1 else g,
    ),
}
STEPS = {
    "sgd": (
        lambda: keras.optimizers.SGD(0.1, 0.9),
        lambda: inners.SGD(0.9),
    ),
    "adam": (lambda: keras.optimizers.Adam(0.1), inners.Adam),
}


def tensor(array):
    return keras.ops.convert_to_tensor(np.asarray(array, "float32"))


def numpy(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor), "float64")


def run(optimizer, scale=1.0, variables=None):
    """Kernel and bias after three steps, float64."""
    held = variables or [
        keras.Variable(KERNEL.astype("float32"), name="kernel"),
        keras.Variable(BIAS.astype("float32"), name="bias"),
    ]
    optimizer.build(held)
    for pair in zip(GRADIENTS, BIASES, strict=True):
        optimizer.apply([tensor(scale * g) for g in pair], held)
    return [numpy(v) for v in held]


def expected(rule, inner, location, l2=0.0):
    """The same by the formulas."""
    found = []
    for w, gradients in ((KERNEL, GRADIENTS), (BIAS, BIASES)):
        step = STEPS[inner][1]()
        for g in gradients:
            g = g + l2 * w
            if location == "gradient":
                w = w + step.step(rule(g, w), 0.1)
            else:
                w = w - 0.1 * rule(-step.step(g, 0.1) / 0.1, w)
        found.append(w)
    return found


def near(found, wanted, tolerance=ROUNDING):
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a - b).max() <= tolerance


@pytest.mark.parametrize(
    "name, inner, location, l2",
    [
        ("centralize", "sgd", "gradient", 0.1),
        ("centralize", "adam", "update", 0.1),
        ("clip", "sgd", "update", 0.0),
        ("clip", "adam", "gradient", 0.1),
        ("variable", "sgd", "gradient", 0.0),
        ("ratio", "adam", "update", 0.0),
    ],
)
def test_wrapper_is_the_formula(name, inner, location, l2):
    make, rule = RULES[name]
    optimizer = kn.optimizers.GradientTransform(
        STEPS[inner][0](), make(), location, l2
    )
    near(run(optimizer), expected(rule, inner, location, l2))


def test_transforms_act_in_their_order():
    names = ("centralize", "clip", "ratio")

    def rule(g, w):
        for name in names:
            g = RULES[name][1](g, w)
        return g

    optimizer = kn.optimizers.GradientTransform(
        keras.optimizers.SGD(0.1, 0.9), [RULES[n][0]() for n in names]
    )
    near(run(optimizer), expected(rule, "sgd", "gradient"))


LAYERS = {"dense/kernel": KERNEL, "dense/bias": BIAS, "other/kernel": KERNEL}


@pytest.mark.parametrize("location", ["gradient", "update"])
@pytest.mark.parametrize("ratio", [None, 0.1])
def test_blocks_of_layers(ratio, location):
    held = []
    for name, value in LAYERS.items():
        layer, last = name.split("/")
        with keras.name_scope(layer):
            held.append(keras.Variable(value.astype("float32"), name=last))
    optimizer = kn.optimizers.GradientTransform(
        keras.optimizers.SGD(0.1),
        [
            kn.optimizers.centralize(where="other"),
            kn.optimizers.block_normalize("layer", ratio),
        ],
        location,
    )
    optimizer.build(held)
    g, b = GRADIENTS[0], BIASES[0]
    optimizer.apply([tensor(g), tensor(b), tensor(g)], held)
    first = oracle.normalized([g, b], [KERNEL, BIAS], ratio)
    last = oracle.normalized([oracle.centralized(g, (0,))], [KERNEL], ratio)
    wanted = [
        w - 0.1 * u
        for w, u in zip(LAYERS.values(), [*first, *last], strict=True)
    ]
    near(map(numpy, held), wanted)


def test_layers_of_the_same_path_are_blocks_of_their_own():
    held = []
    for _ in range(2):
        with keras.name_scope("dense"):
            held.append(keras.Variable(tensor(KERNEL), name="kernel"))
            held.append(keras.Variable(tensor(BIAS), name="bias"))
    optimizer = kn.optimizers.GradientTransform(
        keras.optimizers.SGD(1.0), kn.optimizers.block_normalize("layer")
    )
    optimizer.build(held)
    given = [GRADIENTS[0], BIASES[0], GRADIENTS[1], BIASES[1]]
    before = [numpy(v) for v in held]
    optimizer.apply([tensor(g) for g in given], held)
    moved = [a - numpy(v) for a, v in zip(before, held, strict=True)]
    for pair in (moved[:2], moved[2:]):
        assert abs(sum(np.sum(m**2) for m in pair) - 1) <= ROUNDING


def test_rules_of_tensors():
    g, w = tensor(GRADIENTS[0]), tensor(KERNEL)
    clip = kn.optimizers.adaptive_clip(0.1)
    once = clip(g, w)
    # Of the weights (6) of each neuron, or by name the other way round.
    wanted = oracle.clipped(GRADIENTS[0], KERNEL, (0,), 0.1, 1e-3)
    near([numpy(once)], [wanted], 1e-6)
    assert np.abs(numpy(clip(once, w)) - wanted).max() <= 1e-6
    wanted = oracle.clipped(GRADIENTS[0], KERNEL, (1,), 0.1, 1e-3)
    near([numpy(clip(g, w, axis="embedding"))], [wanted], 1e-6)
    # Of two neurons only that changes whose gradient does.
    other = GRADIENTS[0] * np.array([1.0, 1.0, 50.0])
    first = numpy(once)[:, :2]
    assert np.array_equal(numpy(clip(tensor(other), w))[:, :2], first)
    block = kn.optimizers.block_normalize()
    assert abs(oracle.norm(numpy(block(g))) - 1) <= 1e-6
    # Neither zeros nor what has squares out of range.
    assert np.array_equal(numpy(block(0 * g)), 0 * KERNEL)
    for scale in (1e-25, 1e25):
        near([numpy(block(scale * g))], [numpy(block(g))], 1e-6)
    with pytest.raises(ValueError, match="`variable` must be given"):
        clip(g)


def test_the_scale_of_the_loss_does_not_matter():
    def made():
        return kn.optimizers.GradientTransform(
            keras.optimizers.SGD(0.1),
            kn.optimizers.block_normalize(where=["kernel", "bias"]),
        )

    near(run(made(), 1e3), run(made()))


def test_sums_of_weights_stay():
    # With SGD; with Adam only if its direction is centred.
    for inner, location, stays in (
        (keras.optimizers.SGD(0.1, 0.9), "gradient", True),
        (keras.optimizers.Adam(0.1), "gradient", False),
        (keras.optimizers.Adam(0.1), "update", True),
    ):
        kernel, _ = run(
            kn.optimizers.GradientTransform(
                inner, kn.optimizers.centralize(), location
            )
        )
        drift = np.abs(np.sum(kernel - KERNEL, axis=0)).max()
        assert drift <= ROUNDING if stays else drift > 1e-2


@pytest.mark.once
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda o: o.GradientTransform("sgd", []), "`transforms` must be"),
        (lambda o: o.GradientTransform("sgd", [max]), "`transforms` must be"),
        (
            lambda o: o.GradientTransform("sgd", o.centralize(), "gradients"),
            "Did you mean 'gradient'",
        ),
        (
            lambda o: o.GradientTransform("sgd", o.centralize(), l2=-1.0),
            "`l2` must not be negative",
        ),
        (lambda o: o.adaptive_clip(0.0), "`clipping` must be positive"),
        (lambda o: o.block_normalize("layers"), "Did you mean 'layer'"),
        (lambda o: o.block_normalize(ratio=-1), "`ratio` must be positive"),
        (lambda o: o.centralize(where=[]), "`where` must be a name"),
        (
            lambda o: o.GradientTransform(
                keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
                o.block_normalize("layer"),
            ),
            "single variables where gradients are accumulated",
        ),
        (
            lambda o: run(
                o.GradientTransform("sgd", o.centralize(where="kernle"))
            ),
            "Did you mean 'kernel'",
        ),
        (
            lambda o: run(
                o.GradientTransform("sgd", o.centralize(where="bias"))
            ),
            "of two axes or more",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make(kn.optimizers)


@pytest.mark.once
def test_transforms_are_values():
    first, second = (kn.optimizers.adaptive_clip(0.1) for _ in range(2))
    assert first == second != kn.optimizers.adaptive_clip()
    assert repr(first) == "AdaptiveClip(clipping=0.1)"
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(first)
    )
    assert again == first
