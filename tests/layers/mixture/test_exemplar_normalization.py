"""Exemplar normalization: one of its normalizers alone, samples apart."""

import numpy as np
import pytest

from contract.method import SHAPES
from contract.method import numpy
from contract.method import scramble
from contract.tolerances import close
from keras_norm.layers import BatchNormalization
from keras_norm.layers import ExemplarNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceNormalization

X = np.random.default_rng(0).normal(0.5, 1.0, SHAPES[4]).astype("float32")
ALONE = {
    "instance": InstanceNormalization(),
    "layer": GroupNormalization(groups=1, epsilon=1e-5),
    "batch": BatchNormalization(epsilon=1e-5),
}


def built(**options):
    layer = ExemplarNormalization(**{"reduction": 2, **options})
    layer.build(SHAPES[4])
    return layer


def alone(name):
    """A layer whose shares are the same for all samples: all of one."""
    layer = built()
    scramble(layer)
    layer.gate_kernel.assign(np.zeros((16, 3)))
    layer.gate_bias.assign(1e4 * (np.array(layer.mixed) == name))
    return layer


@pytest.mark.parametrize("name", ALONE)
def test_one_of_them_alone(name):
    layer = alone(name)
    k = layer.mixed.index(name)
    gamma, beta = numpy(layer.gamma)[k], numpy(layer.beta)[k]
    expected = numpy(ALONE[name](X, training=True)) * gamma + beta
    close(numpy(layer(X, training=True)), expected, X.size)


def test_at_first_it_is_their_mean():
    expected = np.mean(
        [numpy(layer(X, training=True)) for layer in ALONE.values()], axis=0
    )
    close(numpy(built()(X, training=True)), expected, X.size)


def test_shares_are_those_of_the_sample():
    layer = built(normalizers=("instance", "layer"))
    scramble(layer)
    y = numpy(layer(X, training=True))
    changed = X.copy()
    changed[3] = 2.0 * X[3, ..., ::-1] + 1.0
    z = numpy(layer(changed, training=True))
    close(np.delete(z, 3, 0), np.delete(y, 3, 0))
    # A sample twice as large with the same shares would come out the same.
    doubled = numpy(built(normalizers=("layer",))(X, training=True))
    assert np.max(np.abs(y - doubled)) > 1e-2
    assert not layer.non_trainable_weights


def test_shares_differ_between_samples():
    layer = built()
    scramble(layer)
    layer.gamma.assign(np.zeros((3, 8)))
    # Without data y is the mixture of the betas.
    layer.beta.assign(np.arange(3.0)[:, None] + np.zeros((3, 8)))
    y = numpy(layer(X, training=True))
    np.testing.assert_array_equal(y, y[:, :1, :1, :1] + 0 * y)
    assert len(np.unique(np.round(y[:, 0, 0, 0], 4))) > 3
    assert np.all((y > 0) & (y < 2))


def test_options_and_errors():
    layer = built(reduction=32, hidden_units=5, center=False)
    shapes = {w.name: tuple(w.shape) for w in layer.trainable_weights}
    assert shapes == {
        "gamma": (3, 8),
        "squeeze_kernel": (8, 1),
        "hidden_kernel": (9, 5),
        "hidden_bias": (5,),
        "gate_kernel": (5, 3),
        "gate_bias": (3,),
    }
    ExemplarNormalization(("layer", "batch")).build((6, 8))
    with pytest.raises(ValueError, match="without 'instance'"):
        ExemplarNormalization().build((6, 8))
    for name in ("reduction", "hidden_units"):
        with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
            ExemplarNormalization(**{name: 0})
