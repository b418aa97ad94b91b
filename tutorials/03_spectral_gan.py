# %% [markdown]
# # Spectral normalization in a GAN: a discriminator that cannot get too steep
#
# In a generative adversarial network a discriminator learns to give real
# images high scores and generated ones low scores, and a generator learns to
# make images of high score. The generator learns from the *slope* of the score
# alone. Nothing limits that slope: the steeper the discriminator, the lower
# its loss. A wall, flat before and behind it, teaches a generator nothing.
#
# `SpectralNormalization` wraps a layer and divides its kernel by its largest
# singular value. A dense layer then stretches no difference between its inputs,
# a convolution at most by a small factor that is known, and a chain of such
# layers at most by the product of these.
#
# Here one small GAN on scikit-learn's handwritten digits is trained with and
# without, from the same seeds and for the same steps. Then the normalized
# discriminator is made plain again, as one would ship it.

# %%
import io
import sys
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import keras_norm as kn

# The short run trains a few steps from one seed, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 3)
RATES = [0.01] if QUICK else [0.001, 0.01]
STEPS = 4 if QUICK else 600
EVERY = 2 if QUICK else 50
BATCH_SIZE = 64
NOISE = 32
SAMPLES = 100 if QUICK else 1000


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=110)


# %% [markdown]
# ## Two networks
#
# The images have 8x8 pixels, from -1 to 1. `wrap` is all the difference: it
# wraps a layer of the discriminator, or leaves it as it is. LeakyReLU
# stretches nothing, so that only the kernels count.

# %%
images, labels = load_digits(return_X_y=True)
images = (images / 8.0 - 1.0).astype("float32").reshape(-1, 8, 8, 1)

WRAPS = {
    "plain": lambda layer: layer,
    "spectral": kn.layers.SpectralNormalization,
}


def make_discriminator(wrap):
    """Three convolutions and a score."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            wrap(keras.layers.Conv2D(16, 3, padding="same")),
            keras.layers.LeakyReLU(0.1),
            wrap(keras.layers.Conv2D(32, 4, 2, padding="same")),
            keras.layers.LeakyReLU(0.1),
            wrap(keras.layers.Conv2D(32, 3, padding="same")),
            keras.layers.LeakyReLU(0.1),
            keras.layers.Flatten(),
            wrap(keras.layers.Dense(1)),
        ],
        name="discriminator",
    )


def make_generator():
    """From noise to an image."""
    return keras.Sequential(
        [
            keras.Input((NOISE,)),
            keras.layers.Dense(4 * 4 * 32, activation="relu"),
            keras.layers.Reshape((4, 4, 32)),
            keras.layers.UpSampling2D(),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(1, 3, padding="same", activation="tanh"),
        ],
        name="generator",
    )


# %% [markdown]
# ## Two losses and two compiled models
#
# The hinge loss: the discriminator wants real images above 1 and generated
# ones below -1, the generator wants its own as high as possible. Targets are
# the signs 1 and -1; the generator's loss needs none.
#
# A training step written by hand needs gradients, which each backend has in
# its own way. Two compiled Keras models need none of that, and the same file
# runs on all three: the discriminator by itself, and the generator with the
# discriminator behind it.
#
# In the second the discriminator must hold still, and here is a pitfall:
# **`trainable` belongs to the layers, and both models share them.** Backends
# look at it at different times, TensorFlow when it traces the first step, JAX
# and PyTorch at every step. So set it before each step.
#
# A frozen `SpectralNormalization` also holds its estimate of the singular
# vector, `vector_u`, still: it advances in training calls of a layer that is
# trainable, once per step of the discriminator. It still *normalizes*, in
# training and at inference: the generator always sees the normalized
# discriminator.


# %%
def discriminator_loss(sign, score):
    """max(0, 1 - sign * score)."""
    return ops.relu(1.0 - sign * score)


def generator_loss(unused, score):
    """The score of generated images, to be raised."""
    return -score


def compiled(model, loss, rate):
    """Adam without momentum, as for most GANs of this kind."""
    model.compile(
        keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9),
        loss=loss,
        # True works on all three. For networks as small as these only JAX
        # gains by it; the others take longer to compile than they save.
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


class Networks:
    """A generator, a discriminator, and the models that train them."""

    def __init__(self, wrap, rate):
        self.generator = make_generator()
        self.discriminator = make_discriminator(wrap)
        compiled(self.discriminator, discriminator_loss, rate)
        self.both = compiled(
            keras.Sequential([self.generator, self.discriminator]),
            generator_loss,
            rate,
        )

    def sample(self, noise):
        """Images from noise, as an array."""
        return self.generator.predict_on_batch(noise)

    def step(self, real, noise):
        """One step of each network; their losses."""
        x = np.concatenate([real, self.sample(noise[0])])
        signs = np.ones((len(x), 1), "float32")
        signs[len(real) :] = -1.0
        self.discriminator.trainable = True
        first = self.discriminator.train_on_batch(x, signs)
        self.discriminator.trainable = False
        second = self.both.train_on_batch(noise[1], signs[: len(noise[1])])
        return float(first), float(second)


# %% [markdown]
# ## What is measured
#
# **The bound.** The product of the largest singular values of all kernels,
# each as a matrix with a column for each neuron. `effective_kernel()` is what
# a wrapped layer computes with; a plain one has its `kernel`.
#
# For dense layers the product bounds the slope. A convolution reads a pixel
# several times, which can stretch a difference further: at most by the root
# of how often, 3 for the 3x3 convolutions here and 2 for the strided 4x4 one,
# together 18. (`SpectralNormalization(method="convolution")` normalizes the
# convolution itself, then the product is a bound without any factor.) How much
# of it is reached, the steepest slope found between pairs of real and generated
# images says: at least that.
#
# **The samples.** A small classifier learns the real digits. Good samples are
# recognized for certain, and as all ten digits: the score is
# exp(mean KL(p(y|x), p(y))), from 1 to 10 (the Inception score, with digits in
# the place of ImageNet). And the Frechet distance compares mean and covariance
# of all pixels with those of the real images; 0 is the best.


# %%
def singular_values(discriminator):
    """The largest one of each kernel the discriminator computes with."""
    found = []
    for layer in discriminator.layers:
        if hasattr(layer, "effective_kernel"):
            kernel = layer.effective_kernel()
        elif hasattr(layer, "kernel"):
            kernel = layer.kernel
        else:
            continue
        kernel = ops.convert_to_numpy(kernel).astype("float64")
        kernel = kernel.reshape(-1, kernel.shape[-1])
        found.append(np.linalg.norm(kernel, 2))
    return np.array(found)


def steepest(discriminator, made):
    """The largest slope of the score between pairs of images."""
    pairs = [images[: len(made)], made, made[::-1]]
    scores = [discriminator.predict_on_batch(x)[:, 0] for x in pairs]
    slopes = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        distance = np.linalg.norm(
            (pairs[i] - pairs[j]).reshape(len(made), -1), axis=1
        )
        slopes.append(abs(scores[i] - scores[j]) / np.maximum(distance, 1e-3))
    return np.max(slopes)


classifier = MLPClassifier((64,), tol=1e-3, max_iter=400, random_state=0)
classifier.fit(images.reshape(-1, 64)[::2], labels[::2])


def recognition(made):
    """exp(mean KL(p(y|x), p(y)))."""
    p = classifier.predict_proba(made.reshape(-1, 64)) + 1e-12
    kl = np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1)
    return np.exp(kl.mean())


def root(matrix):
    """The symmetric root of a matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def frechet(made, real):
    """Distance of two normal distributions of pixels."""
    a, b = (x.reshape(-1, 64).astype("float64") for x in (made, real))
    ca, cb = np.cov(a.T), np.cov(b.T)
    half = root(ca)
    cross = np.trace(root(half @ cb @ half))
    mean = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return mean + np.trace(ca) + np.trace(cb) - 2 * cross


real_score = recognition(images[1::2])
real_distance = frechet(images[1::2], images[::2])
print(
    f"{keras.backend.backend()}; real digits: score {real_score:.2f}, "
    f"Frechet distance of one half from the other {real_distance:.2f}"
)

# %% [markdown]
# ## Training
#
# At two learning rates, with the same seeds for all.


# %%
def train(wrap, rate, seed):
    """The trained networks, their images, and what was measured on the way."""
    keras.utils.set_random_seed(seed)
    networks = Networks(wrap, rate)
    random = np.random.default_rng(seed)
    shown = random.normal(size=(SAMPLES, NOISE)).astype("float32")
    rows, losses = [], []
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            made = networks.sample(shown)
            rows.append(
                {
                    "step": step,
                    "bound": np.prod(singular_values(networks.discriminator)),
                    "slope": steepest(networks.discriminator, made),
                    "score": recognition(made),
                    "distance": frechet(made, images),
                    "loss": np.mean(losses) if losses else np.nan,
                }
            )
            losses = []
        if step < STEPS:
            real = images[random.integers(len(images), size=BATCH_SIZE)]
            noise = random.normal(size=(2, BATCH_SIZE, NOISE))
            losses.append(networks.step(real, noise.astype("float32"))[0])
    measured = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return networks, made, measured


runs = {}
for rate in RATES:
    for name, wrap in WRAPS.items():
        start = time.perf_counter()
        runs[rate, name] = [train(wrap, rate, seed) for seed in SEEDS]
        seconds = (time.perf_counter() - start) / len(SEEDS)
        print(
            f"rate {rate}, {name}: {len(SEEDS)} x {seconds:.0f} s", flush=True
        )
results = {
    key: {k: np.stack([m[k] for _, _, m in found]) for k in found[0][2]}
    for key, found in runs.items()
}

# %% [markdown]
# ## The numbers
#
# After the last step: the mean over the seeds, and from the smallest to the
# largest.


# %%
def spread(values, digits):
    """Mean, smallest and largest."""
    return (
        f"{values.mean():7.{digits}f} "
        f"({values.min():.{digits}f} to {values.max():.{digits}f})"
    )


print(
    f"\n{len(SEEDS)} seeds, {STEPS} steps\n{'rate':6}{'discriminator':15}"
    f"{'bound':^26}{'steepest slope':^24}{'score':^24}"
    f"{'Frechet distance':^24}{'loss':^22}"
)
for (rate, name), found in results.items():
    print(
        f"{rate:<6}{name:15}"
        f"{spread(found['bound'][:, -1], 1):26}"
        f"{spread(found['slope'][:, -1], 2):24}"
        f"{spread(found['score'][:, -1], 2):24}"
        f"{spread(found['distance'][:, -1], 2):24}"
        f"{spread(found['loss'][:, -1], 2):22}"
    )

# %% [markdown]
# ## The curves
#
# Lines are means over the seeds (of the bound and the slope the median), bands
# reach from the smallest to the largest.

# %%
# Two of Okabe and Ito's colors, which the color-blind can tell apart.
COLORS = {"plain": "#D55E00", "spectral": "#0072B2"}
STYLES = dict(zip(RATES, ["-"] if QUICK else ["--", "-"], strict=True))
PANELS = {
    "bound": ("product of the largest singular values", np.median),
    "slope": ("steepest slope found", np.median),
    "score": ("samples: recognition score", np.mean),
    "distance": ("samples: Frechet distance of pixels", np.mean),
}
figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for axis, (key, (title, middle)) in zip(axes.flat, PANELS.items(), strict=True):
    for (rate, name), found in results.items():
        steps, values = found["step"][0], found[key]
        axis.plot(
            steps,
            middle(values, axis=0),
            color=COLORS[name],
            linestyle=STYLES[rate],
            linewidth=2,
            label=f"{name}, rate {rate}",
        )
        axis.fill_between(
            steps,
            values.min(axis=0),
            values.max(axis=0),
            color=COLORS[name],
            alpha=0.15,
            linewidth=0,
        )
    axis.set(title=title, xlabel="step")
    axis.grid(alpha=0.3)
    if key != "score":
        axis.set_yscale("log")
for axis, level in ((axes[1, 0], real_score), (axes[1, 1], real_distance)):
    axis.axhline(level, color="black", linestyle=":", label="real digits")
figure.legend(
    *axes[1, 0].get_legend_handles_labels(),
    ncols=5,
    loc="outside lower center",
)
keep(figure, "03_spectral_gan_curves.png")

# %% [markdown]
# ![Bound, slope and quality](03_spectral_gan_curves.png)
#
# **The bound.** Without normalization the product grows as long as training
# goes on: about tenfold at the small rate, more than a hundredfold at the
# large one. With it, it stays between 1 and 3, at the small rate near 1. It is
# not 1 because `vector_u` lags behind the kernel, see below.
#
# **The slope.** What was found is far below what is possible, but follows it:
# at the large rate the plain discriminator becomes several times as steep as
# the normalized one. Its hinge loss is half as high: it tells real from
# generated better. What the generator learns from it is another question.
#
# **The samples.** At the small rate the two differ by less than the seeds. At
# the large one both learn faster, and then the score of the plain one comes to
# a stop while that of the normalized one rises, for every seed. The Frechet
# distance sees none of that: it compares no more than means and covariances.
# All are far from real digits after so short a training.
#
# What spectral normalization buys here is that a rate ten times as large is
# still a good one.
#
# ## The samples
#
# From the first seed and the same noise, not chosen.


# %%
def mosaic(shown, rows, columns):
    """Images side by side."""
    tiles = shown[: rows * columns, :, :, 0].reshape(rows, columns, 8, 8)
    tiles = np.pad(
        tiles, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1.0
    )
    return tiles.swapaxes(1, 2).reshape(rows * 10, columns * 10)


panels = {"real": images}
for (rate, name), found in runs.items():
    panels[f"{name}, rate {rate}"] = found[0][1]
figure, axes = plt.subplots(
    1, len(panels), figsize=(11, 3.0), layout="constrained"
)
for axis, (title, shown) in zip(axes, panels.items(), strict=True):
    axis.imshow(mosaic(shown, 8, 6), cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
    axis.set_axis_off()
keep(figure, "03_spectral_gan_samples.png")

# %% [markdown]
# ![Real and generated digits](03_spectral_gan_samples.png)
#
# Digits, most of them, and strokes that are none. At the large rate there is
# more contrast, and all panels have all kinds of digits. Which panel has the
# better ones can hardly be seen from 48 images of 64 pixels; that is what the
# scores, from a thousand each, are for.
#
# ## The bound is as good as vector_u
#
# One step of power iteration per training step follows the kernel, but lags
# behind it, the more the faster the kernel moves and the closer its largest
# singular values are to each other. The singular value is then estimated too
# low, and the kernel that is divided by it has a norm above 1. Where the bound
# must hold, after training, `converge()` iterates until it does.

# %%
discriminator = runs[RATES[-1], "spectral"][0][0].discriminator
print("\nlargest singular values of the effective kernels")
print("as trained:     ", np.round(singular_values(discriminator), 4))
for layer in discriminator.layers:
    if isinstance(layer, kn.layers.SpectralNormalization):
        layer.converge()
converged = singular_values(discriminator)
print("after converge():", np.round(converged, 4))
assert np.allclose(converged, 1.0, atol=1e-3)

# %% [markdown]
# During training `power_iterations=5` lags less, for a few more products of a
# matrix and a vector per step.
#
# ## Deployment: plain layers
#
# `SpectralNormalization` computes the same kernel at every call. For use, or
# for a framework that does not know this package, `remove_parametrizations`
# makes a copy with plain layers that hold the effective kernels. It answers
# the same.

# %%
deployed = kn.tools.remove_parametrizations(discriminator)
x = images[:SAMPLES]
before = discriminator.predict(x, verbose=0)
after = deployed.predict(x, verbose=0)
kinds = [type(layer).__name__ for layer in deployed.layers]
print(f"\nlayers of the copy: {', '.join(kinds)}")
print(
    f"weights: {len(discriminator.weights)} before, {len(deployed.weights)} "
    f"after; largest difference of scores {np.abs(after - before).max():.1e}"
)
assert np.abs(after - before).max() < 1e-5
assert "SpectralNormalization" not in kinds

# %% [markdown]
# **If you know `keras.layers.SpectralNormalization`:** it overwrites the kernel
# in training and passes no gradient through the singular value; inference uses
# what the optimizer has left, which is not normalized. Here the kernel is never
# written, the gradient knows of the division, and training and inference
# compute with the normalized kernel. Weights saved with Keras' layer load, but
# for transposed and depthwise convolutions.
#
# **Elsewhere.** The generator may be wrapped too, and so may dense, recurrent,
# embedding and attention layers; `kn.tools.reparameterize(model,
# kn.layers.SpectralNormalization)` wraps all layers of a model that exists. Do
# not put batch normalization behind a wrapped layer if the bound is what you
# want: dividing by a small deviation is as steep as one likes.
