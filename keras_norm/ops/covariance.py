"""Covariance of channels over everything else."""

from keras import ops

from keras_norm.core import areas
from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import moments
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import one_integer
from keras_norm.core.layer import statistics_dtype


def covariance(x, axis=-1, groups=1, mask=None, unbiased=False):
    """S = E[(x - mean)(x - mean)^T] of the channels, per group of channels.

    Args:
        x: tensor of rank at least 2; half precision is computed in float32.
        axis: channel axis. The mean is over all other axes.
        groups: number of groups of consecutive channels.
        mask: weights of rank 1 to rank(x), aligned to the leading axes and
            the same for all channels; entries of weight 0 take no part.
        unbiased: divide by m - 1 instead of m.

    Returns:
        (groups, C / groups, C / groups); zeros where nothing was seen. Exact
        for data far from zero: the mean is subtracted before anything is
        multiplied.

    Raises:
        ValueError: an axis outside the input, groups that do not divide the
            channels, a mask that differs between channels.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.array([[1.0, 1.0], [3.0, 5.0]], "float32")
    >>> print(keras.ops.convert_to_numpy(kn.ops.covariance(x))[0])
    [[1. 2.]
     [2. 4.]]
    """
    x = ops.convert_to_tensor(x)
    x = ops.cast(x, statistics_dtype(x))
    axis = one_integer("axis", axis)
    channels = channels_of(axis, tuple(x.shape))
    area = areas.Area()
    areas.Area("each", groups).check(channels)
    axis = axis % len(x.shape)
    table = moments.measure(x, axis, mask)
    averages = area.over(table)
    _, data, weights = covariances.centred(table, averages, axis)
    cut = channel_groups.ChannelGroups(channels, channels // groups)
    return covariances.measure(data, weights, averages, cut, unbiased)
