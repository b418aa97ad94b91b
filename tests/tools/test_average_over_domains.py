"""Averages of the predictions for all domains."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from contract.tolerances import close

X = np.random.default_rng(0).normal(size=(10, 8)).astype("float32")


def numpy(t):
    return keras.ops.convert_to_numpy(t)


def norm(size=3):
    """A layer of domains that differ."""
    layer = kn.layers.DomainSpecificBatchNormalization(size)
    layer.build((None, 8))
    rng = np.random.default_rng(3)
    for w in layer.weights:
        w.assign(rng.uniform(0.5, 2.0, w.shape))
    return layer


def model_of(form="labels", inputs="list", size=3):
    """(model, its layer); the domain comes last, or first."""
    layer = norm(size)
    x = keras.Input((8,), name="x")
    shape, dtype = {
        "labels": ((), "int32"),
        "column": ((1,), "float32"),
        "weights": ((size,), "float32"),
    }[form]
    domain = keras.Input(shape, dtype=dtype, name="domain")
    y = keras.layers.Softmax()(layer(x, domain))
    taken = {
        "list": [x, domain],
        "first": [domain, x],
        "dict": {"domain": domain, "x": x},
    }[inputs]
    return keras.Model(taken, y), layer


def expected(layer, domains=range(3), weights=None):
    """By the layer itself."""
    y = [numpy(keras.ops.softmax(layer(X, domain=d))) for d in domains]
    return np.average(y, axis=0, weights=weights)


@pytest.mark.parametrize("form", ["labels", "column", "weights"])
def test_is_the_average_over_all_domains(form):
    model, layer = model_of(form)
    before = model.get_weights()
    y = kn.tools.average_over_domains(model, X, batch_size=4)
    assert y.dtype == "float32"
    close(y, expected(layer), entries=8)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "inputs, given, domain_input",
    [
        ("list", X, 1),
        ("list", [X], "domain"),
        ("first", X, 0),
        ("dict", {"x": X}, "domain"),
        ("dict", X, "domain"),
        ("list", {"x": X}, None),
    ],
)
def test_place_of_the_domain(inputs, given, domain_input):
    model, layer = model_of(inputs=inputs)
    y = kn.tools.average_over_domains(model, given, domain_input)
    close(y, expected(layer), entries=8)


def test_some_domains_with_weights():
    model, layer = model_of()
    y = kn.tools.average_over_domains(
        model, X, domains=np.array([0, 2]), weights=[1.0, 3.0]
    )
    close(y, expected(layer, [0, 2], [1, 3]), entries=8)


def test_batches_of_an_iterator():
    model, layer = model_of()
    batches = iter([X[:4], X[4:8], X[8:]])
    y = kn.tools.average_over_domains(model, batches, steps=3)
    close(y, expected(layer), entries=8)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm = norm()

    def call(self, inputs):
        x, domain = inputs
        y = self.norm(x, domain)
        return {"p": keras.ops.softmax(y), "y": y}


def test_subclassed_model_with_several_outputs():
    model = Subclassed()
    found = kn.tools.average_over_domains(model, X)
    close(found["p"], expected(model.norm), entries=8)
    y = np.mean([numpy(model.norm(X, domain=d)) for d in range(3)], axis=0)
    close(found["y"], y, entries=8)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"domain_input": "other"}, "`domain_input` must be"),
        ({"domain_input": 2}, "`domain_input` must be"),
        ({"domains": []}, "`domains` must hold"),
        ({"domains": 2}, "`domains` must hold"),
        ({"domains": [0, 3]}, "`domains` must be an integer from 0 to 2"),
        ({"weights": [1.0, 2.0]}, "`weights` must be"),
        ({"weights": [1.0, -1.0, 1.0]}, "`weights` must be"),
        ({"weights": [0.0, 0.0, 0.0]}, "`weights` must be"),
    ],
    ids=str,
)
def test_errors(change, text):
    model, _ = model_of()
    with pytest.raises(ValueError, match=text):
        kn.tools.average_over_domains(model, X, **change)


def test_models_without_domains():
    plain = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`domains` must be given"):
        kn.tools.average_over_domains(plain, X)
    layer = norm()
    inferring = keras.Sequential([keras.Input((8,)), layer])
    with pytest.raises(ValueError, match="takes the domain as an input"):
        kn.tools.average_over_domains(inferring, X)


# Statistics of domains by the tools of all models -----------------------------


@pytest.mark.parametrize(
    "layer",
    [
        kn.layers.DomainSpecificBatchNormalization,
        kn.layers.DomainSpecificOptimizedNormalization,
        kn.layers.TransferableNormalization,
    ],
)
def test_population_statistics_of_every_domain(layer):
    two = layer is kn.layers.TransferableNormalization
    # For (N, C) the variance of the batch itself would be unbiased.
    optimized = layer is kn.layers.DomainSpecificOptimizedNormalization
    options = {} if two else {"num_domains": 3}
    layer = layer(**options, **({"unbiased": False} if optimized else {}))
    x, domain = keras.Input((8,)), keras.Input((), dtype="int32")
    model = keras.Model([x, domain], layer(x, domain))
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1, 0, 0], "int32")
    if two:
        # A batch in which a domain is absent.
        labels[:4] = 0
    kn.tools.recompute_statistics(model, [X, labels], batch_size=4)
    mean, variance = numpy(layer.moving_mean), numpy(layer.moving_variance)
    for d in (0, 1):
        own = X[labels == d]
        np.testing.assert_allclose(mean[d], own.mean(0), atol=1e-5)
        np.testing.assert_allclose(variance[d], own.var(0), rtol=1e-4)
    if not two:
        np.testing.assert_array_equal(mean[2], np.zeros(8))
        np.testing.assert_array_equal(variance[2], np.ones(8))


def test_statistics_of_a_new_target():
    layer = norm(2)
    x = keras.Input((8,))
    model = keras.Model(x, layer(x))
    before = numpy(layer.moving_mean)
    kn.tools.adapt_statistics(model, X + 4.0)
    after = numpy(layer.moving_mean)
    np.testing.assert_allclose(after[1], X.mean(0) + 4.0, atol=1e-5)
    np.testing.assert_array_equal(after[0], before[0])
