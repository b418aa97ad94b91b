"""LARS, LAMB and WNGrad against the formulas in NumPy float64."""

import json

import keras
import numpy as np
import pytest

import keras_norm as kn
from oracles import gradients as oracle

rng = np.random.default_rng(12)
KERNEL, BIAS = rng.normal(size=(6, 3)), rng.normal(size=3)
GRADIENTS = rng.normal(size=(3, 6, 3))
BIASES = rng.normal(size=(3, 3))
# Three steps in float32 of some twenty products each.
ROUNDING = 5e-6
RATES = (0.5, 0.1, 0.2)


def tensor(array):
    return keras.ops.convert_to_tensor(np.asarray(array, "float32"))


def run(optimizer, kernel=KERNEL, gradients=GRADIENTS):
    """Kernel and bias after each of three steps, float64."""
    held = [
        keras.Variable(kernel.astype("float32"), name="kernel"),
        keras.Variable(BIAS.astype("float32"), name="bias"),
    ]
    optimizer.build(held)
    found = []
    for pair in zip(gradients, BIASES, strict=True):
        optimizer.apply([tensor(g) for g in pair], held)
        found.append(
            [np.array(keras.ops.convert_to_numpy(v), "float64") for v in held]
        )
    return found


def expected(kernel_steps, bias_steps, kernel=KERNEL, gradients=GRADIENTS):
    found, w, b = [], kernel, BIAS
    for g, h in zip(gradients, BIASES, strict=True):
        w, b = kernel_steps.step(w, g), bias_steps.step(b, h)
        found.append([w, b])
    return found


def near(found, wanted):
    for pair in zip(found, wanted, strict=True):
        for a, b in zip(*pair, strict=True):
            assert np.abs(a - b).max() <= ROUNDING


def schedule():
    """Rates that change: where they are multiplied makes a difference."""
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [0, 1], list(RATES)
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l2": 0.1, "epsilon": 0.1, "rate_position": "after"},
        {"l2": 0.1, "denominator": "norm_of_sum", "nesterov": True},
        {"trust": 1.0, "clip": True, "nesterov": True, "position": "after"},
        {"momentum": 0.0, "l2": 0.1},
    ],
)
def test_lars_is_the_formula(options):
    names = {
        "trust": "trust_coefficient",
        "clip": "trust_clip",
        "position": "rate_position",
    }
    ours = {names.get(k, k): v for k, v in options.items()}
    back = {v: k for k, v in names.items()}
    options = {back.get(k, k): v for k, v in options.items()}
    found = run(kn.optimizers.LARS(schedule(), **ours))
    # By default vectors neither adapt nor decay.
    plain = {**options, "l2": 0.0, "adapt": False}
    wanted = expected(
        oracle.LARS(RATES, **options), oracle.LARS(RATES, **plain)
    )
    near(found, wanted)
    every = {"exclude_from_adaptation": [], "exclude_from_decay": []}
    found = run(kn.optimizers.LARS(schedule(), **ours, **every))
    wanted = expected(
        oracle.LARS(RATES, **options), oracle.LARS(RATES, **options)
    )
    near(found, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay": 0.1, "bounds": (0.1, 2.0)},
        {"decay": 0.1, "corrected": False, "averaging": False},
        {"betas": (0.8, 0.9), "epsilon": 0.1, "bounds": (5.0, 9.0)},
    ],
)
def test_lamb_is_the_formula(options):
    names = {
        "bounds": "norm_bounds",
        "corrected": "bias_correction",
        "averaging": "gradient_averaging",
    }
    ours = {names.get(k, k): v for k, v in options.items() if k != "betas"}
    if "betas" in options:
        ours["beta_1"], ours["beta_2"] = options["betas"]
    found = run(kn.optimizers.LAMB(0.1, **ours))
    plain = {**options, "decay": 0.0, "adapt": False}
    wanted = expected(oracle.LAMB(0.1, **options), oracle.LAMB(0.1, **plain))
    near(found, wanted)


@pytest.mark.parametrize("blocks", ["model", "variable"])
def test_wngrad_is_the_formula(blocks):
    optimizer = kn.optimizers.WNGrad(0.5, 2.0, blocks)
    found = run(optimizer)
    together = blocks == "model"
    steps = [oracle.WNGrad(0.5, 2.0) for _ in range(1 if together else 2)]
    weights, wanted = [KERNEL, BIAS], []
    for given in zip(GRADIENTS, BIASES, strict=True):
        if together:
            weights = steps[0].step(weights, given)
        else:
            weights = [
                step.step([w], [g])[0]
                for step, w, g in zip(steps, weights, given, strict=True)
            ]
        wanted.append(weights)
    near(found, wanted)
    # Iterations, learning rate and the divisors: all its state.
    assert len(optimizer.variables) == 2 + len(steps)


def test_wngrad_finds_the_rate():
    # Of 25 |w|^2, where rates above 1 / 25 go to infinity.
    for initial in (1.0, 10.0, 100.0):
        w = keras.Variable(0.1 * KERNEL.astype("float32"))
        optimizer = kn.optimizers.WNGrad(initial=initial)
        for _ in range(40):
            optimizer.apply([50.0 * keras.ops.convert_to_tensor(w)], [w])
        assert np.abs(keras.ops.convert_to_numpy(w)).max() < 1e-2


def test_what_is_zero_takes_the_plain_step():
    zero = np.zeros_like(KERNEL)
    nothing = [zero, *GRADIENTS[1:]]
    for make, reference in (
        (
            lambda: kn.optimizers.LARS(0.1, 0.0),
            lambda **o: oracle.LARS([0.1] * 3, 0.0, **o),
        ),
        (
            lambda: kn.optimizers.LAMB(0.1),
            lambda **o: oracle.LAMB(0.1, **o),
        ),
    ):
        wanted = expected(reference(), reference(adapt=False), zero, GRADIENTS)
        near(run(make(), zero), wanted)
        wanted = expected(reference(), reference(adapt=False), KERNEL, nothing)
        near(run(make(), KERNEL, nothing), wanted)


def test_steps_are_in_proportion_to_the_weights():
    # Squares of such gradients vanish, or are infinite, in float32.
    for make, scales in (
        (
            lambda: kn.optimizers.LARS(0.1, 0.0, trust_coefficient=1.0),
            (1e-25, 1.0, 1e25),
        ),
        (lambda: kn.optimizers.LAMB(0.1), (1e-3, 1.0, 1e3)),
    ):
        for scale in scales:
            after, _ = run(make(), KERNEL, scale * GRADIENTS)[0]
            length = oracle.norm(after - KERNEL) / oracle.norm(KERNEL)
            assert abs(length - 0.1) <= 1e-5


def test_normalized_blocks_with_a_ratio_are_lars():
    lars = kn.optimizers.LARS(0.1, 0.0, trust_coefficient=0.02)
    ratio = kn.optimizers.GradientTransform(
        keras.optimizers.SGD(0.1), kn.optimizers.block_normalize(ratio=0.02)
    )
    near(run(ratio), run(lars))


@pytest.mark.once
def test_exclusions_by_name_layer_and_function():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, name="first"),
            keras.layers.LayerNormalization(name="normalization"),
            keras.layers.Dense(3, name="second"),
        ]
    )
    for where, wanted in (
        (None, {1, 2, 3, 5}),
        ([], set()),
        ("first", {0}),
        (["first/bias", "second"], {1, 4}),
        (model.layers[2], {4}),
        (lambda v: "second" in v.path, {4, 5}),
    ):
        optimizer = kn.optimizers.LARS(0.1, exclude_from_adaptation=where)
        optimizer.build(model.trainable_variables)
        assert optimizer._unadapted.indices == wanted
        if callable(where):
            continue
        config = json.loads(json.dumps(optimizer.get_config()))
        again = kn.optimizers.LARS.from_config(config)
        again.build(model.trainable_variables)
        assert again._unadapted.indices == wanted
        assert again.get_config() == config


@pytest.mark.once
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda o: o.LARS(momentum=1.0), "`momentum` must be at least 0"),
        (lambda o: o.LARS(l2=-1.0), "`l2` must not be negative"),
        (lambda o: o.LARS(denominator="sums"), "Did you mean 'sum'"),
        (lambda o: o.LARS(rate_position="at"), "`rate_position` must be one"),
        (lambda o: o.LAMB(beta_2=1.5), "`beta_2` must be at least 0"),
        (lambda o: o.LAMB(norm_bounds=(2, 1)), "`norm_bounds` must be None"),
        (lambda o: o.WNGrad(initial=0.0), "`initial` must be positive"),
        (lambda o: o.WNGrad(blocks="layer"), "`blocks` must be one of"),
        (
            lambda o: run(o.LARS(exclude_from_decay="kernle")),
            "Did you mean 'kernel'",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make(kn.optimizers)
