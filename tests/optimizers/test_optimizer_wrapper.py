"""What a wrapper leaves to the optimizer inside."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from keras_norm.core.optimizer_wrapper import OptimizerWrapper

rng = np.random.default_rng(6)
GRADIENTS = rng.normal(size=(4, 6, 3)).astype("float32")
BIASES = rng.normal(size=(4, 3)).astype("float32")


class Scaled(OptimizerWrapper):
    """Gradients times a factor; counts its updates."""

    def __init__(self, inner_optimizer, factor=1.0, name=None):
        super().__init__(inner_optimizer, name)
        self.factor = factor

    def update(self, step, gradient, variable, learning_rate):
        step(self.factor * gradient + 1.0, variable, learning_rate)


def variables():
    generator = np.random.default_rng(0)
    return [
        keras.Variable(
            generator.normal(size=shape).astype("float32"), name=name
        )
        for shape, name in (((6, 3), "kernel"), ((3,), "bias"))
    ]


def run(optimizer, kernels=GRADIENTS):
    held = variables()
    optimizer.build(held)
    for kernel, bias in zip(kernels, BIASES, strict=True):
        optimizer.apply(
            [keras.ops.convert_to_tensor(g) for g in (kernel, bias)], held
        )
    return [np.array(keras.ops.convert_to_numpy(v)) for v in held]


INNERS = {
    "sgd": lambda **options: keras.optimizers.SGD(0.1, 0.9, **options),
    "nesterov": lambda **options: keras.optimizers.SGD(
        0.1, 0.9, nesterov=True, **options
    ),
    "adam": lambda **options: keras.optimizers.Adam(0.1, **options),
    "nadam": lambda **options: keras.optimizers.Nadam(0.1, **options),
    "rmsprop": lambda **options: keras.optimizers.RMSprop(0.1, **options),
}
OPTIONS = {
    "plain": {},
    "clipped": {"clipnorm": 0.5},
    "decayed": {"weight_decay": 0.1},
    "accumulated": {"gradient_accumulation_steps": 2},
}


@pytest.mark.parametrize(
    "inner, option",
    [
        ("sgd", "plain"),
        ("nesterov", "clipped"),
        ("adam", "decayed"),
        ("rmsprop", "accumulated"),
    ],
)
def test_others_take_the_inner_step(inner, option):
    options = OPTIONS[option]
    _, plain = run(INNERS[inner](**options))
    wrapped = kn.optimizers.Riemannian(INNERS[inner](**options))
    _, bias = run(wrapped)
    # On PyTorch both take the fused operations.
    assert np.abs(bias - plain).max() <= 1e-6


@pytest.mark.parametrize("inner", list(INNERS))
def test_a_hand_that_does_nothing_changes_nothing(inner):
    class Still(OptimizerWrapper):
        pass

    plain, wrapped = run(INNERS[inner]()), run(Still(INNERS[inner]()))
    for a, b in zip(plain, wrapped, strict=True):
        # Four steps, each of one rounding of weights up to 2.5 (1.2e-7) and of
        # some twenty roundings (6e-8) of a step of 0.1, three times that where
        # Nadam divides by 1 - u; once with PyTorch's fused operations.
        assert np.abs(a - b).max() <= 4 * 2 * (1.2e-7 + 3 * 20 * 0.1 * 6e-8)


def test_hooks_see_what_is_used():
    # Accumulated, divided and clipped by then.
    options = {"gradient_accumulation_steps": 2, "clipvalue": 0.5}
    found = run(Scaled(keras.optimizers.SGD(0.1, **options), 2.0))
    for start, given, after in zip(
        variables(), (GRADIENTS, BIASES), found, strict=True
    ):
        w = keras.ops.convert_to_numpy(start)
        for pair in (given[:2], given[2:]):
            w = w - 0.1 * (2 * np.clip(pair.mean(0), -0.5, 0.5) + 1)
        assert np.abs(after - w).max() <= 1e-6


def test_the_hand_of_the_outer_one_comes_first():
    inner = keras.optimizers.SGD(0.1)
    found = run(Scaled(Scaled(inner, 2.0), 3.0))
    expected = [keras.ops.convert_to_numpy(v) for v in variables()]
    for w, given, after in zip(
        expected, (GRADIENTS, BIASES), found, strict=True
    ):
        total = sum(2 * (3 * g + 1) + 1 for g in given)
        assert np.abs(after - (w - 0.1 * total)).max() <= 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda decay: kn.optimizers.Riemannian(
            keras.optimizers.SGD(0.1, weight_decay=decay)
        ),
        lambda decay: kn.optimizers.CayleySGD(0.1, weight_decay=decay),
    ],
)
def test_weight_decay_leaves_the_kernels_out(make):
    kernel, bias = run(make(0.5))
    expected, undecayed = run(make(None))
    assert np.array_equal(kernel, expected)
    assert np.abs(bias - undecayed).max() > 1e-2
    # Nothing else there.
    (w, _), optimizer = variables(), make(0.5)
    optimizer.build([w])
    optimizer.apply([keras.ops.convert_to_tensor(GRADIENTS[0])])


def test_the_learning_rate_is_the_inner_one():
    optimizer = kn.optimizers.Riemannian(keras.optimizers.SGD(0.1))
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    optimizer.learning_rate = 0.0
    start, _ = run(optimizer, GRADIENTS * 1e3)
    placed, _ = run(kn.optimizers.Riemannian(keras.optimizers.SGD(0.0)))
    assert float(optimizer.inner_optimizer.learning_rate) == 0.0
    assert np.abs(start - placed).max() <= 1e-6
    assert optimizer.iterations == 4


def test_callbacks_set_the_learning_rate():
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3, name="dense")]
    )
    model.compile(kn.optimizers.Riemannian(keras.optimizers.SGD(0.1)), "mse")
    rates = []
    model.fit(
        np.ones((4, 6)),
        np.ones((4, 3)),
        epochs=4,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda e, r: 0.0 * r + 0.05),
            keras.callbacks.ReduceLROnPlateau("loss", 0.5, 1, min_delta=1e9),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda e, logs: rates.append(
                    float(model.optimizer.learning_rate)
                )
            ),
        ],
    )
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.025)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kn.optimizers.Riemannian(
            keras.optimizers.SGD(0.1, use_ema=True)
        ),
        lambda: kn.optimizers.CayleySGD(0.1, use_ema=True),
    ],
)
def test_averages_are_put_on_the_manifold(make):
    optimizer, held = make(), variables()
    optimizer.build(held)
    for kernel, bias in zip(GRADIENTS, BIASES, strict=True):
        optimizer.apply(
            [keras.ops.convert_to_tensor(g) for g in (kernel, bias)], held
        )
    assert optimizer.use_ema
    before = np.array(keras.ops.convert_to_numpy(held[0]))
    optimizer.finalize_variable_values(held)
    after = keras.ops.convert_to_numpy(held[0])
    assert np.abs(after - before).max() > 1e-2
    assert np.abs(after.T @ after - np.eye(3)).max() <= 1e-5


def test_scaling_inside_and_outside():
    def gradients(scale):
        return [keras.ops.convert_to_tensor(scale * GRADIENTS[0])]

    found = []
    for make, scale in (
        (lambda o: kn.optimizers.Riemannian(o), 1.0),
        (
            lambda o: keras.optimizers.LossScaleOptimizer(
                kn.optimizers.Riemannian(o), initial_scale=8.0
            ),
            8.0,
        ),
        (
            lambda o: kn.optimizers.Riemannian(
                keras.optimizers.LossScaleOptimizer(o, initial_scale=8.0)
            ),
            8.0,
        ),
    ):
        optimizer, (w, _) = make(keras.optimizers.SGD(0.1, 0.9)), variables()
        optimizer.build([w])
        one = keras.ops.convert_to_tensor(1.0)
        assert float(optimizer.scale_loss(one)) == scale
        if keras.backend.backend() == "jax":
            # The only way of Keras' LossScaleOptimizer there.
            (w,), _ = optimizer.stateless_apply(
                [v.value for v in optimizer.variables],
                gradients(scale),
                [w.value],
            )
        else:
            optimizer.apply(gradients(scale), [w])
        found.append(np.array(keras.ops.convert_to_numpy(w)))
    assert np.abs(found[1] - found[0]).max() <= 1e-6
    assert np.abs(found[2] - found[0]).max() <= 1e-6


def test_inner_configs_load_on_all_backends():
    config = Scaled(keras.optimizers.SGD(0.1)).get_config()
    assert config["inner_optimizer"]["module"] == "keras.optimizers"
    assert config["inner_optimizer"]["registered_name"] is None


def test_weights_of_the_optimizer():
    optimizer = kn.optimizers.Riemannian(keras.optimizers.SGD(0.1, 0.9))
    run(optimizer)
    values = [keras.ops.convert_to_numpy(v) for v in optimizer.variables]
    # Iterations, learning rate, and momentum of both.
    assert len(values) == 4
    other = kn.optimizers.Riemannian(keras.optimizers.SGD(0.1, 0.9))
    other.build(variables())
    other.set_weights(values)
    for a, b in zip(other.variables, values, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(a), b)
