"""Stochastic normalization disturbance: how much the batch changes a sample.

Huang et al., 2019, https://arxiv.org/abs/1904.03441
"""

import dataclasses
import inspect

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.models.kept_state import kept_state
from keras_norm.models.model_data import inputs_of
from keras_norm.models.model_data import is_arrays
from keras_norm.models.model_data import samples_of

SIZES = (2, 4, 8, 16, 32, 64)


@dataclasses.dataclass(frozen=True, eq=False)
class StochasticDisturbance:
    """The disturbance by the size of the batches.

    Args:
        batch_sizes: (sizes,).
        values: (sizes, samples), one for each sample.
    """

    batch_sizes: np.ndarray
    values: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(sizes,), the mean over the samples."""
        return self.values.mean(axis=1)

    def plot(self, ax=None):
        """The mean against the size, both logarithmic where not all are 0.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from keras_norm.analysis import plots

        ax = plots.axes(ax)
        ax.plot(self.batch_sizes, self.mean, "o-")
        ax.set_xscale("log", base=2)
        if np.all(self.mean > 0):
            ax.set_yscale("log")
        ax.set_xlabel("samples in a batch")
        ax.set_ylabel("disturbance of a sample")
        return ax


def stochastic_disturbance(
    layer,
    data,
    batch_sizes=SIZES,
    batches: int = 200,
    samples: int = 20,
    per_entry: bool = False,
    seed: int | None = None,
    verbose: int | str = 0,
) -> StochasticDisturbance:
    """How far a sample's result depends on the batch that it is in.

        D(x) = 1/s sum_i || F(B_i; x) - 1/s sum_j F(B_j; x) ||_2

    F(B; x): what training makes of x within the batch B; s batches contain x,
    their other samples are drawn without repetition. Batch normalization adds
    such noise, which regularizes a little and disturbs much where batches are
    small; whitening adds more of it, layer or group normalization none. The
    same for several sizes is the curve from which to choose a batch size.

    Args:
        layer: a layer or model, called in training, so that dropout disturbs
            as well; or a function of a batch, made of `keras.ops`. A layer
            that is not built will be.
        data: array of all samples to draw from; lists or dicts of such for
            several inputs. Those that stand for the input of an inner layer
            are what the layers before it make of the data.
        batch_sizes: one size or several, each from 2 to the number of samples
            in `data`.
        batches: s.
        samples: how many x, drawn without repetition, at most all.
        per_entry: divide by the root of the number of entries of F(B; x), to
            compare layers of different width.
        seed: of the draws.
        verbose: 1 or "auto" shows a progress bar.

    Returns:
        A `StochasticDisturbance`: `.batch_sizes`, `.values` of (sizes,
        samples), `.mean` of (sizes,), `.plot()`. State and seeds of the layer
        are as they were.

    Raises:
        ValueError: no arrays; a size, or a number of samples or batches, that
            does not fit.

    Example: with one other sample, batch normalization only says which of the
    two is larger.

    >>> import numpy as np
    >>> import keras
    >>> import keras_norm as kn
    >>> layer = keras.layers.BatchNormalization(epsilon=0.0)
    >>> x = np.arange(3, dtype="float32")[:, None]
    >>> found = kn.analysis.stochastic_disturbance(layer, x, 2, samples=3)
    >>> np.round(np.sort(found.values)[0], 1)
    array([0., 0., 1.])

    Reference:

    - Huang, Zhou, Zhu, Liu & Shao, Iterative Normalization: Beyond
      Standardization towards Efficient Whitening, CVPR 2019,
      https://arxiv.org/abs/1904.03441

    Note: the sample comes first in each batch, so that of ghost batches it is
    in the first. The mean over the batches is an estimate as well: with few
    of them the result is too small, by about 1 / (2 s).
    """
    if not callable(layer):
        raise errors.received(
            "`layer` must be a layer, a model or a function of a batch.",
            layer=layer,
        )
    if not is_arrays(data):
        raise errors.received(
            "`data` must be an array of all samples, or several in a list or "
            "dict.",
            data=type(data).__name__,
        )
    inputs = inputs_of(data)
    number = samples_of(inputs)
    sizes = checked_sizes(batch_sizes, number)
    positive("batches", batches, 2)
    positive("samples", samples)
    generator = np.random.default_rng(seed)
    chosen = generator.choice(number, min(samples, number), replace=False)

    def batch(x, size):
        """x and others at random."""
        others = generator.choice(number - 1, size - 1, replace=False)
        index = np.concatenate([[x], others + (others >= x)])
        return tree.map_structure(lambda a: a[index], inputs)

    if isinstance(layer, keras.layers.Layer) and not layer.built:
        layer(tree.map_structure(lambda a: a[:2], inputs), training=False)
    program = FirstSample(layer)
    bar = keras.utils.Progbar(
        len(sizes) * len(chosen), verbose=verbose_of(verbose)
    )
    values = np.zeros((len(sizes), len(chosen)))
    with kept_state(layer):
        for i, size in enumerate(sizes):
            for j, x in enumerate(chosen):
                found = [
                    program.predict_on_batch(batch(x, size))
                    for _ in range(batches)
                ]
                apart = np.concatenate(found).astype("float64")
                apart -= apart.mean(axis=0)
                values[i, j] = np.linalg.norm(apart, axis=1).mean()
                if per_entry:
                    values[i, j] /= np.sqrt(apart.shape[1])
                bar.add(1)
    return StochasticDisturbance(np.asarray(sizes), values)


class FirstSample(keras.Model):
    """What training makes of the first sample of a batch, in one row.

    A model, so that Keras compiles it: thousands of small batches follow.

    Args:
        inner: a layer, or a function.
    """

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.options = {}
        if isinstance(inner, keras.layers.Layer):
            takes = inspect.signature(inner.call).parameters
            if "training" in takes:
                self.options = {"training": True}

    def call(self, inputs):
        outputs = tree.flatten(self.inner(inputs, **self.options))
        rows = [ops.reshape(y[:1], (1, -1)) for y in outputs]
        return ops.concatenate([ops.cast(r, "float32") for r in rows], axis=1)


def checked_sizes(sizes, number) -> list:
    """Batch sizes, one or several, that the data suffice for."""
    several = isinstance(sizes, (list, tuple, np.ndarray))
    found = [int(size) for size in (sizes if several else [sizes])]
    if not found or min(found) < 2 or max(found) > number:
        raise errors.received(
            "`batch_sizes` must be from 2 to the number of samples.",
            batch_sizes=sizes,
            samples_in_data=number,
        )
    return found


def verbose_of(verbose) -> int:
    """As Keras' progress bar takes it."""
    return 1 if verbose == "auto" else int(verbose)
