"""One layer of each kind that has kernels, and a batch for it."""

import keras
import numpy as np
from keras import layers

# name: (the layer, shape of its input without the batch, kernels)
KINDS = {
    "dense": (lambda: layers.Dense(6, activation="relu"), (8,), 1),
    "einsum": (
        lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3)),
        (5, 4),
        1,
    ),
    "einsum of blocks": (
        lambda: layers.EinsumDense("abc,bcd->abd", (5, 3)),
        (5, 4),
        1,
    ),
    "conv1d": (lambda: layers.Conv1D(6, 3), (7, 4), 1),
    "conv2d": (lambda: layers.Conv2D(6, 3, padding="same"), (6, 6, 4), 1),
    "conv3d": (lambda: layers.Conv3D(6, 2), (4, 4, 4, 3), 1),
    "grouped": (lambda: layers.Conv1D(6, 3, groups=2), (7, 4), 1),
    "transposed": (
        lambda: layers.Conv2DTranspose(6, 3, strides=2),
        (4, 4, 5),
        1,
    ),
    "depthwise": (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        (6, 6, 4),
        1,
    ),
    "separable": (lambda: layers.SeparableConv2D(6, 3), (6, 6, 4), 2),
    "embedding": (lambda: layers.Embedding(7, 4), (3,), 1),
    "simple rnn": (lambda: layers.SimpleRNN(5), (6, 4), 2),
    "lstm": (lambda: layers.LSTM(5, return_sequences=True), (6, 4), 2),
    "gru": (lambda: layers.GRU(5), (6, 4), 2),
    "bidirectional": (
        lambda: layers.Bidirectional(layers.SimpleRNN(5)),
        (6, 4),
        4,
    ),
    "stacked": (
        lambda: layers.RNN([layers.LSTMCell(5), layers.GRUCell(4)]),
        (6, 4),
        4,
    ),
    "convlstm": (lambda: layers.ConvLSTM1D(3, 2), (4, 5, 2), 2),
    "time distributed": (
        lambda: layers.TimeDistributed(layers.Dense(6)),
        (5, 4),
        1,
    ),
}


def batch(kind, size=4, seed=0):
    """A batch for a layer of this kind."""
    _, shape, _ = KINDS[kind]
    random = np.random.default_rng(seed)
    if kind == "embedding":
        return random.integers(0, 7, (size, *shape)).astype("int32")
    return random.standard_normal((size, *shape)).astype("float32")


def built(kind):
    """A built layer with weights that are not special."""
    make, shape, _ = KINDS[kind]
    layer = make()
    layer.build((None, *shape))
    random = np.random.default_rng(1)
    layer.set_weights(
        [0.4 * random.standard_normal(w.shape) for w in layer.get_weights()]
    )
    return layer


def array(tensor):
    """A NumPy array."""
    return keras.ops.convert_to_numpy(tensor)
