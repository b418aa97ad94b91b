# %% [markdown]
# # The style of photographs
#
# Mean and deviation of each channel of a network's features say much of how a
# photograph looks, and little of what is on it. Three layers make use of that:
#
# * adaptive instance normalization gives the features of one photograph the
#   moments of another: no weight is trained for it;
# * dynamic instance normalization makes a small filter out of the style, so
#   that a trained network can do more than shift and scale;
# * batch-instance normalization learns, for each channel, whether style is a
#   nuisance (instance normalization takes it out) or a message (batch
#   normalization keeps it).

# %%
import io
import sys
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops
from sklearn.datasets import load_sample_image

import keras_norm as kn

# The short run trains little, once, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 5)
STEPS = 4 if QUICK else 1500
# Compiling takes longer than a short run, except where there is no other way.
JIT = False if QUICK and keras.backend.backend() != "jax" else "auto"


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=52)


# %%
def photograph(name):
    """Half the size, entries from 0 to 1."""
    image = load_sample_image(name)[:424, :640] / 255.0
    return image.reshape(212, 2, 320, 2, 3).mean((1, 3)).astype("float32")


PHOTOGRAPHS = np.stack([photograph("china.jpg"), photograph("flower.jpg")])
random = np.random.default_rng(0)


def patches(count, size=32):
    """(patches, which photograph they are cut from)."""
    found, which = [], random.integers(0, 2, count)
    for k in which:
        i, j = random.integers(0, 212 - size), random.integers(0, 320 - size)
        found.append(PHOTOGRAPHS[k, i : i + size, j : j + size])
    return np.stack(found), which


# %% [markdown]
# ## Features to work on
#
# An autoencoder for patches: a quarter of the size, 32 channels, and back.


# %%
def convolution(filters, activation="relu", stride=1):
    """Three by three."""
    return keras.layers.Conv2D(
        filters, 3, stride, "same", activation=activation
    )


keras.utils.set_random_seed(0)
encoder = keras.Sequential(
    [
        keras.Input((None, None, 3)),
        convolution(24),
        convolution(32, stride=2),
        convolution(32, None, 2),
    ]
)
decoder = keras.Sequential(
    [
        keras.Input((None, None, 32)),
        convolution(32),
        keras.layers.UpSampling2D(),
        convolution(32),
        keras.layers.UpSampling2D(),
        convolution(24),
        convolution(3, "sigmoid"),
    ]
)
autoencoder = keras.Sequential([encoder, decoder])
autoencoder.compile(keras.optimizers.Adam(2e-3), "mse", jit_compile=JIT)
x, _ = patches(16 * min(STEPS, 250))
autoencoder.fit(x, x, batch_size=16, epochs=1 if QUICK else 8, verbose=0)
error = autoencoder.evaluate(x, x, verbose=0) ** 0.5
print(f"autoencoder: deviation of a pixel {error:.3f}")

# %% [markdown]
# ## The moments of another photograph
#
# `alpha` says how far to go: 0 gives the photograph itself, as the autoencoder
# sees it.

# %%
features = encoder(PHOTOGRAPHS)
content, style = features, features[::-1]
rows = []
for alpha in (0.0, 0.5, 1.0):
    layer = kn.layers.AdaptiveInstanceNormalization(alpha=alpha)
    rows.append(ops.convert_to_numpy(decoder(layer(content, style))))
figure, axes = plt.subplots(2, 3, figsize=(9, 4.4), layout="constrained")
for row, k in zip(axes, range(2), strict=True):
    for ax, alpha, shown in zip(row, (0, 0.5, 1), rows, strict=True):
        ax.imshow(shown[k])
        ax.set(title=f"alpha = {alpha}", xticks=[], yticks=[])
keep(figure, "10_style_of_photographs_moments.png")

# %% [markdown]
# ![Two photographs with more and more of the moments of each
# other](10_style_of_photographs_moments.png)
#
# ## A filter made of the style
#
# The encoder stays as it is; trained are dynamic instance normalization and a
# decoder of its own. The result must have the features of the content, up to
# their moments, and the moments of the style.


# %%
@keras.saving.register_keras_serializable("tutorial")
class Likeness(keras.layers.Layer):
    """What the result lacks of content and of style, as a loss."""

    def call(self, result, content, style):
        """The result's features, unchanged."""

        def moments(t):
            mean = ops.mean(t, (1, 2), keepdims=True)
            variance = ops.mean(ops.square(t - mean), (1, 2), keepdims=True)
            return mean, ops.sqrt(variance + 1e-5)

        (m, s), (a, b) = moments(result), moments(style)
        mean, deviation = moments(content)
        apart = (result - m) / s - (content - mean) / deviation
        self.add_loss(ops.mean(ops.square(apart)))
        self.add_loss(10.0 * ops.mean(ops.square(m - a) + ops.square(s - b)))
        return result


encoder.trainable = False
transfer = kn.layers.DynamicInstanceNormalization(kernel_size=3)
painter = keras.models.clone_model(decoder)
painter.set_weights(decoder.get_weights())
first, second = keras.Input((None, None, 3)), keras.Input((None, None, 3))
content, style = encoder(first), encoder(second)
painted = painter(transfer(content, style))
judged = Likeness()(encoder(painted), content, style)
trainer = keras.Model([first, second], judged)
trainer.compile(keras.optimizers.Adam(1e-3), jit_compile=JIT)
a, b = patches(8 * STEPS)[0], patches(8 * STEPS)[0]
trainer.fit([a, b], batch_size=8, epochs=1, verbose=0)
stylize = keras.Model([first, second], painted)

# %% [markdown]
# The style need not be that of one photograph: here it is the mean of the
# features of several patches, some of the one, some of the other.

# %%
shown = [PHOTOGRAPHS[0]]
for share in (0.0, 0.5, 1.0):
    mixture = (1 - share) * PHOTOGRAPHS[:1] + share * PHOTOGRAPHS[1:]
    shown.append(stylize.predict([PHOTOGRAPHS[:1], mixture], verbose=0)[0])
titles = ("photograph", "its own style", "half and half", "the other's")
figure, axes = plt.subplots(1, 4, figsize=(11, 2.3), layout="constrained")
for ax, title, image in zip(axes, titles, shown, strict=True):
    ax.imshow(image)
    ax.set(title=title, xticks=[], yticks=[])
keep(figure, "10_style_of_photographs_filters.png")

# %% [markdown]
# ![A photograph painted in mixtures of two
# styles](10_style_of_photographs_filters.png)
#
# ## When style is a nuisance
#
# Which photograph is a patch from? Training patches come in their own light;
# the patches to be judged have a random tint and contrast.


# %%
def relit(x):
    """Patches in another light: a factor and an offset for each colour."""
    shape = (len(x), 1, 1, 3)
    factor = random.uniform(0.5, 1.2, shape)
    return (factor * x + random.uniform(-0.2, 0.2, shape)).astype("float32")


LAYERS = {
    "batch": kn.layers.BatchNormalization,
    "instance": kn.layers.InstanceNormalization,
    "batch-instance": kn.layers.BatchInstanceNormalization,
}


def classifier(layer):
    """A small network with the layer after each convolution."""
    stack = [keras.Input((32, 32, 3))]
    for filters in (16, 32, 32):
        stack += [convolution(filters, None, 2), layer(), keras.layers.ReLU()]
    stack.append(keras.layers.GlobalAveragePooling2D())
    stack.append(keras.layers.Dense(1, activation="sigmoid"))
    model = keras.Sequential(stack)
    model.compile(
        keras.optimizers.Adam(2e-3),
        "binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=JIT,
    )
    return model


count = 64 if QUICK else 2048
train_x, train_y = patches(count)
# Half of the training patches are relit too: enough to learn that it happens.
train_x[::2] = relit(train_x[::2])
test_x, test_y = patches(count)
lights = {"own light": test_x, "other light": relit(test_x)}
scores = {name: [] for name in LAYERS}
gates = []
for seed in SEEDS:
    for name, layer in LAYERS.items():
        keras.utils.set_random_seed(seed)
        model = classifier(layer)
        epochs = 1 if QUICK else 10
        model.fit(train_x, train_y, batch_size=64, epochs=epochs, verbose=0)
        scores[name].append(
            [model.evaluate(x, test_y, verbose=0)[1] for x in lights.values()]
        )
    found = [m for m in model.layers if hasattr(m, "gate")]
    gates.append([ops.convert_to_numpy(m.gate) for m in found])
for name, runs in scores.items():
    own, other = np.mean(runs, 0)
    print(f"{name:15} own light {own:.3f}, other light {other:.3f}")
means = [np.mean([g[k].mean() for g in gates]) for k in range(3)]
print("share of batch normalization in each layer:", np.round(means, 2))

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for k, title in enumerate(lights):
    runs = np.array([[r[k] for r in scores[name]] for name in LAYERS])
    mean = runs.mean(1)
    axes[0].bar(
        np.arange(len(LAYERS)) + 0.4 * k - 0.2,
        mean,
        0.36,
        yerr=[mean - runs.min(1), runs.max(1) - mean],
        capsize=2,
        label=title,
    )
axes[0].set_xticks(range(len(LAYERS)), list(LAYERS))
axes[0].set(ylabel="accuracy", ylim=(0.5, 1))
axes[0].legend(loc="lower right")
for k in range(3):
    each = np.concatenate([g[k] for g in gates])
    axes[1].plot(np.linspace(0, 1, len(each)), np.sort(each), label=f"{k + 1}")
axes[1].set(xlabel="channels, sorted", ylabel="share of batch normalization")
axes[1].legend(title="layer")
keep(figure, "10_style_of_photographs_gates.png")

# %% [markdown]
# ![Accuracy in both lights, and what the gates have
# learned](10_style_of_photographs_gates.png)
#
# Means of five seeds, with the range between the worst and the best.
#
# * Instance normalization reads 97 % of the patches in another light, batch
#   normalization 78 %. With ten epochs it is also ahead in their own light.
# * Batch-instance normalization, whose gates start at batch normalization, is
#   near the former: 96 %. The first layers, which see the light itself, have
#   gone furthest: their share of batch normalization is 0.86, that of the last
#   layer is still 1.
