"""Batches of anything that `fit` takes."""

import keras
import numpy as np
import pytest

from keras_norm.models.model_data import Batches

X = np.arange(20.0).reshape(10, 2)
Y, W = np.zeros(10), np.ones(10)


class Indexed(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


class Endless(Indexed):
    @property
    def num_batches(self):
        return None


def pairs():
    for start in range(0, 10, 4):
        yield X[start : start + 4], Y[start : start + 4]


def tensorflow_dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def torch_loader():
    import torch

    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(tensors, batch_size=4)


FORMS = {
    "array": lambda: X,
    "integers": lambda: X.astype("int32"),
    "tensor": lambda: keras.ops.convert_to_tensor(X.astype("float32")),
    "x": lambda: (X,),
    "x, y": lambda: (X, Y),
    "x, y, weights": lambda: (X, Y, W),
    "indexed": lambda: Indexed(),
    "iterator": pairs,
    "tensorflow": tensorflow_dataset,
    "torch": torch_loader,
}


def array(batch):
    return np.asarray(keras.ops.convert_to_numpy(batch), "float64")


@pytest.mark.parametrize("form", FORMS)
def test_batches(form):
    batches = Batches(FORMS[form](), steps=3, batch_size=4)
    found = [array(batch) for batch in batches]
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate(found), X)
    assert batches.number == 3


@pytest.mark.parametrize("form", ["array", "indexed", "tensorflow", "torch"])
def test_all_batches_again_and_again(form):
    batches = Batches(FORMS[form](), batch_size=4)
    assert batches.number == 3
    for _ in range(2):
        assert len(list(batches)) == 3
    assert len(list(Batches(FORMS[form](), 2, 4))) == 2


def test_structures():
    """Lists and dicts are inputs of the model, not (x, y)."""
    first = next(iter(Batches([X, Y], batch_size=4)))
    assert isinstance(first, list) and first[1].shape == (4,)
    first = next(iter(Batches(({"a": X, "b": Y}, Y), batch_size=4)))
    assert first["a"].shape == (4, 2)
    # As fit does with what is not of the backend.
    assert first["a"].dtype == "float32"


def test_draws():
    def drawn(seed, **options):
        draws = Batches(X, **options).draws(np.random.default_rng(seed))
        return [array(next(draws)) for _ in range(3)]

    found = drawn(1, batch_size=4)
    for one, other in zip(found, drawn(1, batch_size=4), strict=True):
        assert np.array_equal(one, other)
        assert len(np.unique(one[:, 0])) == 4
    assert not np.array_equal(found[0], found[1])
    # A batch cannot be larger than the data.
    assert sorted(drawn(0)[0][:, 0]) == sorted(X[:, 0])
    # Data that come in batches begin again.
    draws = Batches(Indexed()).draws(None)
    found = [array(next(draws)) for _ in range(4)]
    assert np.array_equal(found[0], found[3])


def endless():
    while True:
        yield X


@pytest.mark.parametrize(
    "data, steps, message",
    [
        (endless(), None, "`steps` must be given"),
        (Endless(), None, "`steps` must be given"),
        (X[:0], None, "at least one sample"),
        (iter([]), 2, "at least one batch"),
        ([X, Y[:3]], None, "same number of samples"),
        ((X, Y, W, W), None, r"\(x, y, weights\)"),
        (X, 0, "`steps` must be an integer"),
        (3, None, "`data` must be arrays"),
        (lambda: X, None, "`data` must be arrays"),
    ],
)
def test_errors(data, steps, message):
    with pytest.raises(ValueError, match=message):
        list(Batches(data, steps))


def test_too_few_batches():
    with pytest.warns(UserWarning, match="after 3 of 5 batches"):
        list(Batches(X, 5, 4))
