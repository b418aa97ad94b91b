"""Gamma and beta from the moments of the input, or from a latent."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.tolerances import close
from keras_norm.core.generated_recoveries import EnhancedByMean
from keras_norm.layers import AttentiveNormalization
from keras_norm.layers import BatchNormalization
from keras_norm.layers import ComposedNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import InstanceEnhancementBatchNormalization
from keras_norm.layers import InstanceLevelMetaNormalization
from keras_norm.layers import SelfModulatedBatchNormalization

SHAPE = (6, 4, 3, 8)
AREAS = ("batch", "instance", "layer", "group")


def data(seed=0):
    return np.random.default_rng(seed).normal(1, 2, SHAPE).astype("float32")


def batch_normalization():
    twin = BatchNormalization(epsilon=1e-5, momentum=0.9)
    twin.build(SHAPE)
    return twin


def same_in_training_and_inference(layer, twin, *others):
    x = data()
    for training in (True, False):
        y = numpy(layer(x, *others, training=training))
        close(y, numpy(twin(x, training=training)), entries=x.size)


# Enhancement ------------------------------------------------------------------


def test_open_gates_are_batch_normalization():
    layer = InstanceEnhancementBatchNormalization()
    layer.build(SHAPE)
    layer.enhancement_bias.assign(np.full(8, 1e4))
    same_in_training_and_inference(layer, batch_normalization())


def test_gates_see_the_sample_in_inference():
    layer, x = InstanceEnhancementBatchNormalization(), data()
    layer.build(SHAPE)
    scramble(layer)
    w, b = (numpy(layer.enhancement_weight), numpy(layer.enhancement_bias))
    means = np.mean(x.astype("float64"), axis=(1, 2), keepdims=True)
    gamma = numpy(layer.gamma) / (1 + np.exp(-(means * w + b)))
    rate = 1 / np.sqrt(numpy(layer.moving_variance) + 1e-5)
    expected = (x - numpy(layer.moving_mean)) * rate * gamma
    close(numpy(layer(x)), expected + numpy(layer.beta), entries=x.size)


def test_recovery_of_any_area_of_instances():
    layer = ComposedNormalization("instance", recovery=EnhancedByMean())
    assert layer(data()).shape == SHAPE
    for part in ({"area": "position"}, {"operation": "newton"}):
        layer = ComposedNormalization(recovery=EnhancedByMean(), **part)
        with pytest.raises(ValueError, match="EnhancedByMean.*Received"):
            layer.build(SHAPE)


# Key groups -------------------------------------------------------------------


@pytest.mark.parametrize("area", AREAS)
def test_without_maps_gamma_is_one_half_more(area):
    layer = InstanceLevelMetaNormalization(
        area, groups=2, key_group_size=2, reduction=2, unbiased=False
    )
    layer.build(SHAPE)
    for kernel in (layer.gamma_kernel, layer.beta_kernel):
        kernel.assign(np.zeros(kernel.shape))
    if area == "batch":
        twin = batch_normalization()
    else:
        groups = {"instance": -1, "layer": 1, "group": 2}[area]
        twin = GroupNormalization(groups, epsilon=1e-5)
        twin.build(SHAPE)
    twin.gamma.assign(np.full(8, 1.5))
    same_in_training_and_inference(layer, twin)


@pytest.mark.parametrize(
    "area, reduction, units",
    [("group", 4, 1), ("instance", 4, 2), ("layer", 3, 1), ("batch", 9, 2)],
)
def test_units_of_the_embedding(area, reduction, units):
    layer = InstanceLevelMetaNormalization(
        area, groups=2, key_group_size=2, reduction=reduction
    )
    layer.build(SHAPE)
    assert layer.embedding_kernel.shape == (4, units)


def test_key_groups_must_divide_the_channels():
    layer = InstanceLevelMetaNormalization(groups=2, key_group_size=3)
    with pytest.raises(ValueError, match="`key_group_size`.*channels=8"):
        layer.build(SHAPE)


# Attention --------------------------------------------------------------------


@pytest.mark.parametrize("area", AREAS)
def test_one_map_with_all_the_attention_is_affine(area):
    layer = AttentiveNormalization(
        1, area, groups=2, attention_normalization=None
    )
    layer.build(SHAPE)
    scramble(layer)
    layer.attention_bias.assign([1e4])
    if area == "batch":
        twin = batch_normalization()
        twin.moving_mean.assign(layer.moving_mean)
        twin.moving_variance.assign(layer.moving_variance)
    else:
        groups = {"instance": -1, "layer": 1, "group": 2}[area]
        twin = GroupNormalization(groups, epsilon=1e-5)
        twin.build(SHAPE)
    twin.gamma.assign(layer.gamma[0])
    twin.beta.assign(layer.beta[0])
    same_in_training_and_inference(layer, twin)


def test_samples_of_which_nothing_is_seen_have_no_logits():
    x, mask = data(), np.array([1, 0, 1, 1, 0, 1], bool)
    held = np.where(mask[:, None, None, None], x, np.float32(np.nan))
    layer, twin = (AttentiveNormalization(3) for _ in range(2))
    for t in (layer, twin):
        t.build(SHAPE)
        scramble(t)
    y = numpy(layer(held, training=True, mask=mask))
    close(y[mask], numpy(twin(x[mask], training=True)), entries=x.size)
    for a, b in zip(layer.variables, twin.variables, strict=True):
        close(numpy(a), numpy(b), entries=x.size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AttentiveNormalization(3),
        lambda: AttentiveNormalization(
            3, "layer", attention_normalization=None
        ),
        lambda: InstanceLevelMetaNormalization("layer", key_group_size=4),
    ],
)
def test_features_are_channels_of_one_position(make):
    x = data()[:, 0, 0]
    mask = np.random.default_rng(5).uniform(size=x.shape) > 0.35
    # A key group of which nothing is seen.
    mask[2, 4:] = False
    held = np.where(mask, x, np.float32(np.nan))
    layer, twin = make(), make()
    layer.build(x.shape)
    twin.build((6, 1, 8))
    for t in (layer, twin):
        scramble(t)
    y = numpy(layer(held, training=True, mask=mask))
    expected = numpy(twin(x[:, None], training=True, mask=mask[:, None]))
    close(y[mask], expected[:, 0][mask], entries=x.size)
    for a, b in zip(layer.variables, twin.variables, strict=True):
        close(numpy(a), numpy(b), entries=x.size)


# Latents ----------------------------------------------------------------------


@pytest.mark.parametrize("hidden_units", [5, 0])
def test_zero_latents_are_batch_normalization(hidden_units):
    layer = SelfModulatedBatchNormalization(
        hidden_units, momentum=0.9, epsilon=1e-5
    )
    z = np.zeros((6, 3), "float32")
    layer.build([SHAPE, z.shape])
    same_in_training_and_inference(layer, batch_normalization(), z)


@pytest.mark.parametrize(
    "cls, name, value",
    [
        (InstanceLevelMetaNormalization, "area", "groups"),
        (InstanceLevelMetaNormalization, "groups", 0),
        (InstanceLevelMetaNormalization, "key_group_size", 0),
        (InstanceLevelMetaNormalization, "reduction", 0.5),
        (AttentiveNormalization, "area", "instances"),
        (AttentiveNormalization, "num_mixtures", 0),
        (AttentiveNormalization, "attention_activation", "relu"),
        (AttentiveNormalization, "attention_normalization", "group"),
        (SelfModulatedBatchNormalization, "hidden_units", -1),
    ],
)
def test_values_that_make_no_sense(cls, name, value):
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        cls(**{name: value})
