"""Batches of anything that `fit` takes, without its targets and weights."""

import warnings
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_norm import errors
from keras_norm.core.layer import positive


class Batches:
    """The inputs of a model, batch by batch; targets are left out.

    Can be iterated again where `data` can.

    Args:
        data: arrays, or lists or dicts of arrays, of all samples; a tuple
            (x, y) or (x, y, weights) of such; a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a PyTorch `DataLoader` or an iterator of
            batches, each of one of these forms.
        steps: number of batches; None: all there are.
        batch_size: samples of a batch of arrays.
    """

    def __init__(self, data, steps=None, batch_size=32):
        if steps is not None:
            positive("steps", steps)
        self.data, self.steps = data, steps
        self.arrays = is_arrays(data)
        if self.arrays:
            positive("batch_size", batch_size)
            self.inputs = inputs_of(data)
            self.samples = samples_of(self.inputs)
            self.batch_size = batch_size
            number = -(-self.samples // batch_size)
        elif not is_batches(data):
            raise errors.received(
                "`data` must be arrays, a dataset or an iterator of batches, "
                "as `fit` takes them.",
                data=type(data).__name__,
            )
        else:
            number = number_of_batches(data)
            if is_endless(data) and steps is None:
                raise errors.received(
                    "`steps` must be given where the data may have no end.",
                    "Give the number of batches to take.",
                    steps=None,
                    data=type(data).__name__,
                )
        finite = [n for n in (number, steps) if n not in (None, np.inf)]
        self.number = min(finite, default=None)

    def __iter__(self):
        """The inputs of one batch after another."""
        taken = 0
        for batch in self.all():
            yield batch
            taken += 1
            if taken == self.steps:
                return
        if taken == 0:
            raise errors.received(
                "`data` must hold at least one batch.",
                "An iterator that has been used up holds none.",
                data=type(self.data).__name__,
            )
        if self.steps is not None:
            warnings.warn(
                f"The data ended after {taken} of {self.steps} batches.",
                stacklevel=2,
            )

    def all(self):
        """As many batches as there are."""
        if self.arrays:
            for start in range(0, self.samples, self.batch_size):
                yield self.rows(slice(start, start + self.batch_size))
        elif is_py_dataset(self.data):
            yield from py_dataset_batches(self.data, self.number)
        else:
            loader = is_data_loader(self.data)
            for batch in self.data:
                # A DataLoader makes lists of what fit takes as tuples.
                listed = loader and isinstance(batch, list)
                yield inputs_of(tuple(batch) if listed else batch)

    def rows(self, index):
        """Samples of arrays by a slice or by numbers."""
        return tree.map_structure(lambda a: a[index], self.inputs)

    def draws(self, generator):
        """Batches at random without end; of arrays by a NumPy generator.

        Of an iterator those that it has.
        """
        if hasattr(self.data, "__next__"):
            yield from self.all()
            return
        while True:
            if self.arrays:
                size = min(self.batch_size, self.samples)
                chosen = generator.choice(self.samples, size, replace=False)
                yield self.rows(chosen)
            else:
                yield from self


def is_arrays(data) -> bool:
    """True for arrays, and for lists, tuples and dicts of them."""
    leaves = [leaf for leaf in tree.flatten(data) if leaf is not None]
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def is_py_dataset(data) -> bool:
    """True for what Keras indexes by the number of the batch."""
    return isinstance(data, keras.utils.PyDataset)


def is_batches(data) -> bool:
    """True for what may give one batch after another."""
    text = isinstance(data, (str, bytes))
    return is_py_dataset(data) or (hasattr(data, "__iter__") and not text)


def is_endless(data) -> bool:
    """True for data of batches that need not end: iterators as well."""
    if is_arrays(data) or not is_batches(data):
        return False
    return hasattr(data, "__next__") or number_of_batches(data) == np.inf


def is_data_loader(data) -> bool:
    """True for a loader of PyTorch, which need not be installed."""
    modules = [kind.__module__ for kind in type(data).__mro__]
    return any(m.startswith("torch.utils.data") for m in modules)


def number_of_batches(data):
    """A number, infinity, or None where it is not known."""
    if is_py_dataset(data):
        number = data.num_batches
        return np.inf if number is None else int(number)
    if hasattr(data, "cardinality"):
        # Of tf.data: -1 is infinite, -2 is unknown.
        number = int(data.cardinality())
        return {-1: np.inf, -2: None}.get(number, number)
    try:
        return len(data)
    except TypeError:
        return None


def py_dataset_batches(data, number):
    """Batches of a PyDataset, with the calls that it expects."""
    data.on_epoch_begin()
    for index in range(number):
        yield inputs_of(data[index])
    data.on_epoch_end()


def inputs_of(data):
    """The x of (x), (x, y) or (x, y, weights), leaves as the model takes."""
    if isinstance(data, tuple) and not 1 <= len(data) <= 3:
        raise errors.received(
            "A tuple of `data` must be (x,), (x, y) or (x, y, weights).",
            "Several inputs of a model belong into a list or dict.",
            length=len(data),
        )
    x = data[0] if isinstance(data, tuple) else data
    return tree.map_structure(array, x)


def array(leaf) -> Any:
    """A tensor of the backend as it is, anything else as a NumPy array."""
    if keras.ops.is_tensor(leaf):
        return leaf
    if hasattr(leaf, "detach"):
        leaf = leaf.detach().cpu()
    leaf = np.asarray(leaf)
    if leaf.dtype == np.float64:
        # As fit does.
        leaf = leaf.astype(keras.config.floatx())
    return leaf


def samples_of(inputs) -> int:
    """The number of samples of arrays, the same in all of them."""
    shapes = [tuple(leaf.shape) for leaf in tree.flatten(inputs)]
    if len({shape[:1] for shape in shapes}) != 1 or not shapes[0]:
        raise errors.received(
            "Arrays of `data` must have the same number of samples.",
            shapes=shapes,
        )
    if shapes[0][0] == 0:
        raise errors.received(
            "`data` must hold at least one sample.", shapes=shapes
        )
    return shapes[0][0]
