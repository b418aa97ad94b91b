"""Batches of anything that `fit` takes, with its targets and weights."""

import keras
from keras import tree

from keras_norm import errors
from keras_norm.models.model_data import array
from keras_norm.models.model_data import is_arrays
from keras_norm.models.model_data import is_batches
from keras_norm.models.model_data import is_data_loader
from keras_norm.models.model_data import is_endless
from keras_norm.models.model_data import is_py_dataset
from keras_norm.models.model_data import samples_of


class LabelledBatches:
    """(x, y, weights) of one batch after another; again and again.

    Args:
        name: of the argument, for messages.
        data: (x, y) or (x, y, weights) of arrays, or of dicts or lists of
            such; a `tf.data.Dataset`, a `keras.utils.PyDataset` or a PyTorch
            `DataLoader` of batches of these forms. It must have an end.
        batch_size: samples of a batch of arrays.
    """

    def __init__(self, name, data, batch_size=32):
        self.name, self.data = name, data
        self.arrays = isinstance(data, tuple) and is_arrays(data)
        self.batch_size = batch_size
        if self.arrays:
            self.whole = self.parts(data)
            self.samples = samples_of(
                [leaf for leaf in self.whole if leaf is not None]
            )
        elif is_arrays(data) or not is_batches(data) or is_endless(data):
            raise errors.received(
                f"`{name}` must be (x, y), (x, y, weights), or a dataset of "
                "such batches that has an end and can be read again.",
                **{name: type(data).__name__},
            )

    def parts(self, batch):
        """(x, y, weights or None), leaves as the model takes them."""
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise errors.received(
                f"`{self.name}` must have targets: batches of (x, y) or (x, y, "
                "weights).",
                batch=type(batch).__name__,
            )
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(batch))
        return tuple(
            None if part is None else tree.map_structure(array, part)
            for part in (x, y, weights)
        )

    def __iter__(self):
        """One batch after another."""
        if self.arrays:
            for start in range(0, self.samples, self.batch_size):
                rows = slice(start, start + self.batch_size)
                yield tuple(
                    None
                    if part is None
                    else tree.map_structure(lambda a, r=rows: a[r], part)
                    for part in self.whole
                )
        elif is_py_dataset(self.data):
            self.data.on_epoch_begin()
            for index in range(self.data.num_batches):
                yield self.parts(self.data[index])
            self.data.on_epoch_end()
        else:
            for batch in self.data:
                if is_data_loader(self.data):
                    batch = tuple(batch)
                yield self.parts(batch)
