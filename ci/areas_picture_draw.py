"""Draws which entries of an (N, H, W, C) tensor share statistics in each area.

Nothing here knows the areas: each is asked. The input is 1 at one entry, the
probe, and 0 elsewhere; the entries whose mean responds share statistics with
the probe. tests/test_readme.py compares the same data with means in NumPy.
"""

import hashlib
import inspect
from pathlib import Path

import keras
import numpy as np

import keras_norm as kn
from keras_norm.areas import Area
from keras_norm.areas import Position
from keras_norm.core.windows import Window

PATH = Path(__file__).with_name("areas.png")
SHAPE = (4, 4, 4, 6)
# Sample, row, column and channel of the probe.
PROBE = (1, 1, 2, 3)

# The title and the area of each panel.
AREAS = {
    "batch": Area("all", "each"),
    "layer": Area("each", "all"),
    "instance": Area("each", "each"),
    "position": Position(),
    "group": Area("each", 2),
    "batch group": Area("parts", 2, size=2),
    "ghost batch": Area("chunks", "each", size=2),
    "window": Window(3, channels_per_group=2),
}

# Okabe and Ito's colors, which the color-blind can tell apart.
PROBE_COLOR, SHARED_COLOR, OTHER_COLOR = "#D55E00", "#56B4E9", "#E6E6E6"


def means(area, shape=SHAPE, probe=PROBE):
    """Returns the mean that each entry is given, for a 1 at the probe."""
    x = np.zeros(shape, "float32")
    x[probe] = 1.0
    layer = kn.layers.ComposedNormalization(
        area=area, operation="center", statistics="batch", recovery="none"
    )
    return x - keras.ops.convert_to_numpy(layer(x))


def shared(area, shape=SHAPE, probe=PROBE):
    """Returns which entries share statistics with the probe."""
    # The least that one entry of all can give to a mean; a mean that did not
    # respond is 0 up to rounding.
    return means(area, shape, probe) > 0.5 / np.prod(shape)


def digest():
    """Returns a digest of all that is drawn."""
    drawn = hashlib.sha256(repr((SHAPE, PROBE)).encode())
    for title, area in AREAS.items():
        drawn.update(f"{title}: {area!r}".encode())
        drawn.update(np.packbits(shared(area)).tobytes())
    return drawn.hexdigest()


def draw(path):
    """Writes the picture, with the digest of its data among its metadata."""
    # Not at the top, so that the test can import the data without it.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    figure, axes = plt.subplots(2, 4, figsize=(11.6, 5.6), layout="constrained")
    for axis, (title, area) in zip(axes.flat, AREAS.items(), strict=True):
        panel(axis, title, area)
    for axis in axes[:, 0]:
        axis.set_ylabel("samples (N)")
    for axis in axes[-1]:
        axis.set_xlabel("channels (C)")
    figure.legend(
        handles=[
            Patch(color=PROBE_COLOR, label="one entry"),
            Patch(
                color=SHARED_COLOR, label="entries that share its statistics"
            ),
            Patch(color=OTHER_COLOR, label="all others"),
        ],
        ncols=3,
        frameon=False,
        loc="outside lower center",
    )
    n, height, width, channels = SHAPE
    figure.suptitle(
        "Which entries of an (N, H, W, C) tensor share statistics: "
        f"{n} samples by {channels} channels of {height} x {width} positions"
    )
    figure.savefig(path, dpi=120, metadata={"Description": digest()})


def panel(axis, title, area):
    """Draws one area: rows of samples, columns of channels."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    n, height, width, channels = SHAPE
    chosen = shared(area)
    squares, colors = [], []
    for place in np.ndindex(SHAPE):
        sample, row, column, channel = place
        corner = (
            channel * (width + 1) + column,
            sample * (height + 1) + row,
        )
        squares.append(Rectangle(corner, 1, 1))
        if place == PROBE:
            colors.append(PROBE_COLOR)
        else:
            colors.append(SHARED_COLOR if chosen[place] else OTHER_COLOR)
    axis.add_collection(
        PatchCollection(
            squares, facecolor=colors, edgecolor="white", linewidth=0.6
        )
    )
    axis.set_xlim(-0.5, channels * (width + 1) - 0.5)
    axis.set_ylim(n * (height + 1) - 0.5, -0.5)
    axis.set_aspect("equal")
    axis.set_xticks((width + 1) * np.arange(channels) + width / 2)
    axis.set_xticklabels(range(channels))
    axis.set_yticks((height + 1) * np.arange(n) + height / 2)
    axis.set_yticklabels(range(n))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(
        f"{title}: {chosen.sum()} entries",
        fontsize=11,
        fontweight="bold",
        pad=17,
    )
    axis.annotate(
        call(area),
        (0.5, 1.0),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        family="monospace",
        fontsize=8,
        ha="center",
    )


def call(area):
    """Returns the call that makes the area."""
    arguments = inspect.signature(type(area)).parameters
    # Not repr: rows and columns are what is to be seen, defaults or not.
    shown = [
        repr(value) if name in ("rows", "columns") else f"{name}={value!r}"
        for name, value in area.get_config().items()
        if name in ("rows", "columns") or value != arguments[name].default
    ]
    return f"{type(area).__name__}({', '.join(shown)})"


if __name__ == "__main__":
    draw(PATH)
    print(PATH.name, PATH.stat().st_size, "bytes")
