"""The layers that are compared: ours, Keras' and PyTorch's.

All have the same epsilon and momentum, so that they compute the same.
"""

import keras

import keras_norm as kn
from benchmarks.plan import EPSILON
from benchmarks.plan import GROUPS

OURS = {
    "batch": lambda: kn.layers.BatchNormalization(epsilon=EPSILON),
    "layer": lambda: kn.layers.LayerNormalization(epsilon=EPSILON),
    "group": lambda: kn.layers.GroupNormalization(GROUPS, epsilon=EPSILON),
    "instance": lambda: kn.layers.InstanceNormalization(epsilon=EPSILON),
    "rms": lambda: kn.layers.RMSNormalization(epsilon=EPSILON),
}
KERAS = {
    "batch": lambda: keras.layers.BatchNormalization(epsilon=EPSILON),
    "layer": lambda: keras.layers.LayerNormalization(epsilon=EPSILON),
    "group": lambda: keras.layers.GroupNormalization(GROUPS, epsilon=EPSILON),
    # Keras' way to normalize instances.
    "instance": lambda: keras.layers.GroupNormalization(-1, epsilon=EPSILON),
    "rms": lambda: keras.layers.RMSNormalization(epsilon=EPSILON),
}
# PyTorch's layers that want the channels in second place, and get them there.
CHANNELS_FIRST = ("batch", "group", "instance")


def torch_nn(layer, shape):
    """Returns the layer of torch.nn for channels-last inputs of `shape`."""
    from torch import nn

    channels = shape[-1]
    suffix = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}[len(shape)]
    if layer == "batch":
        kind = getattr(nn, f"BatchNorm{suffix}")
        # Keras' momentum is the fraction kept.
        return kind(channels, eps=EPSILON, momentum=1 - 0.99)
    if layer == "instance":
        kind = getattr(nn, f"InstanceNorm{suffix}")
        return kind(channels, eps=EPSILON, affine=True)
    if layer == "group":
        return nn.GroupNorm(GROUPS, channels, eps=EPSILON)
    return {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[layer](
        channels, eps=EPSILON
    )
