"""Labels, one-hot rows and weights of classes."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.tolerances import close
from keras_norm.layers import ConditionalBatchNormalization
from keras_norm.layers import ConditionalInstanceNormalization
from keras_norm.layers import InstanceNormalization

SHAPE = (6, 4, 3, 8)
LABELS = np.array([0, 2, 1, 1, 0, 2])
LAYERS = [ConditionalBatchNormalization, ConditionalInstanceNormalization]


def data(seed=0):
    return np.random.default_rng(seed).normal(1, 2, SHAPE).astype("float32")


def built(cls):
    layer = cls(num_classes=3)
    layer.build([SHAPE, (6,)])
    scramble(layer)
    return layer


@pytest.mark.parametrize("cls", LAYERS)
def test_labels_are_one_hot_rows(cls):
    x, layer = data(), built(cls)
    expected = numpy(layer(x, LABELS))
    rows = np.eye(3, dtype="float32")[LABELS]
    for same in (LABELS[:, None], LABELS.astype("float32"), rows):
        close(numpy(layer(x, same)), expected)
    # A row of integers is a row of weights.
    close(numpy(layer(x, rows.astype("int32"))), expected)


@pytest.mark.parametrize("cls", LAYERS)
def test_one_label_for_all_samples(cls):
    x, layer = data(), built(cls)
    expected = numpy(layer(x, np.full(6, 2)))
    close(numpy(layer(x, np.array(2))), expected)


@pytest.mark.parametrize("cls", LAYERS)
def test_weights_mix_the_classes(cls):
    x, layer = data(), built(cls)
    each = [numpy(layer(x, np.full(6, k))) for k in range(3)]
    weights = np.random.default_rng(1).dirichlet(np.ones(3), 6)
    y = numpy(layer(x, weights.astype("float32")))
    # Weights add up to 1, so that gamma0 and beta0 stay what they are.
    close(y, np.einsum("nk,knhwc->nhwc", weights, np.array(each)))


def test_equal_rows_are_instance_normalization():
    x, layer = data(), ConditionalInstanceNormalization(num_classes=3)
    close(numpy(layer(x, LABELS)), numpy(InstanceNormalization()(x)))


@pytest.mark.parametrize("cls", LAYERS)
@pytest.mark.parametrize("shape", [(6, 2), (6, 3, 1)])
def test_conditions_of_other_shapes(cls, shape):
    layer = cls(num_classes=3)
    with pytest.raises(ValueError, match="`condition`.*num_classes=3"):
        layer.build([SHAPE, shape])


def test_labels_need_num_classes():
    layer = ConditionalBatchNormalization()
    with pytest.raises(ValueError, match="`num_classes`.*Received"):
        layer.build([SHAPE, (6,)])


def test_at_least_one_class():
    with pytest.raises(ValueError, match="`num_classes`.*Received"):
        ConditionalInstanceNormalization(0)
