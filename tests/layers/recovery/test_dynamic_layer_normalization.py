"""Dynamic layer normalization: the summary, its masks, its loss."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.tolerances import close
from keras_norm.layers import DynamicLayerNormalization
from keras_norm.layers import LayerNormalization

SHAPE = (6, 5, 8)


def data(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(1, 2, shape).astype("float32")


def built(shapes=SHAPE, **options):
    layer = DynamicLayerNormalization(summary_units=4, **options)
    layer.build(shapes)
    scramble(layer)
    return layer


def test_without_maps_it_is_layer_normalization():
    layer, x = built(), data()
    for name in ("gamma", "beta"):
        kernel = getattr(layer, f"{name}_kernel")
        kernel.assign(np.zeros(kernel.shape))
    twin = LayerNormalization(epsilon=1e-5)
    twin.build(SHAPE)
    twin.set_weights([numpy(layer.gamma_bias), numpy(layer.beta_bias)])
    close(numpy(layer(x)), numpy(twin(x)))


def test_the_input_may_be_given_as_summary_input():
    layer, x = built(), data()
    mask = np.arange(5) < np.array([5, 1, 3, 4, 2, 5])[:, None]
    y = numpy(layer(x, mask=mask))
    close(numpy(layer(x, x, mask=mask))[mask], y[mask])
    close(numpy(layer([x, x], mask=[mask, mask]))[mask], y[mask])


def test_summary_of_another_sequence_has_its_own_mask():
    x, h = data(), data((6, 7, 3), 1)
    layer = built([SHAPE, h.shape])
    y = numpy(layer(x, summary_input=h[:, :4]))
    mask = np.broadcast_to(np.arange(7) < 4, (6, 7))
    close(numpy(layer([x, h], mask=[None, mask])), y)
    # The mask of the input is none of a sequence of another length.
    close(numpy(layer(x, h[:, :4], mask=np.ones((6, 5), bool))), y)


@pytest.mark.parametrize("center, scale", [(False, True), (True, False)])
def test_only_what_is_wanted_is_generated(center, scale):
    layer = built(center=center, scale=scale)
    names = [w.name for w in layer.weights]
    assert ("gamma_kernel" in names, "beta_kernel" in names) == (scale, center)
    assert layer(data()).shape == SHAPE


def test_diversity_is_a_loss_of_training():
    layer, x = built(diversity_weight=0.5), data()
    mask = np.array([1, 1, 0, 1, 1, 1])
    layer(x, mask=mask)
    assert not layer.losses
    layer(x, training=True, mask=mask)
    kernel, bias = (numpy(w) for w in layer.weights[:2])
    summaries = np.mean(np.tanh(x @ kernel + bias), axis=1)
    variance = np.mean(np.var(summaries[mask > 0], axis=0))
    (loss,) = layer.losses
    close(numpy(loss), -0.5 * variance, entries=x.size)


def test_values_that_make_no_sense():
    for options in ({"summary_units": 0}, {"diversity_weight": -1.0}):
        (name,) = options
        with pytest.raises(ValueError, match=f"`{name}`.*Received"):
            DynamicLayerNormalization(**options)
