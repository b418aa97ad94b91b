"""Convolutions with as many results as entries, by shifted copies.

Values are (N, *places, C). The window of size k at place i covers
i - (k-1)//2 ... i + k//2; outside there are zeros.
"""

import numpy as np


def window_offsets(sizes):
    """(index into the kernel, offset from the centre) of every tap."""
    for index in np.ndindex(*sizes):
        yield (
            index,
            tuple(i - (k - 1) // 2 for i, k in zip(index, sizes, strict=True)),
        )


def shifted(values, offset):
    """The value at place + offset, 0 where that is outside."""
    result = np.zeros(values.shape)
    here, there = [slice(None)], [slice(None)]
    for move, size in zip(offset, values.shape[1:-1], strict=True):
        if abs(move) >= size:
            return result
        here.append(slice(max(-move, 0), size - max(move, 0)))
        there.append(slice(max(move, 0), size - max(-move, 0)))
    result[tuple(here)] = values[tuple(there)]
    return result


def convolve(values, kernel):
    """kernel (*sizes, C in, C out), the same for all samples."""
    result = 0.0
    for index, offset in window_offsets(kernel.shape[:-2]):
        result = result + shifted(values, offset) @ kernel[index]
    return result


def convolve_gradient(values, kernel, upstream):
    """(gradient of the values, of the kernel) of sum(convolve upstream)."""
    of_values, of_kernel = np.zeros(values.shape), np.zeros(kernel.shape)
    axes = tuple(range(values.ndim - 1))
    for index, offset in window_offsets(kernel.shape[:-2]):
        taken = shifted(values, offset)
        of_kernel[index] = np.tensordot(taken, upstream, (axes, axes))
        back = tuple(-move for move in offset)
        of_values += shifted(upstream @ kernel[index].T, back)
    return of_values, of_kernel


def filters_per_sample(flat, sizes, inputs, channels):
    """(N, *sizes, inputs, channels) from rows of numbers in C order."""
    return np.reshape(flat, (len(flat), *sizes, inputs, channels))


def own_convolve(values, filters):
    """Every sample n by its own filters[n] of shape (*sizes, C/groups, C).

    Output channels of group g see the input channels of group g.
    """
    channels, width = filters.shape[-1], filters.shape[-2]
    result = np.zeros(values.shape)
    for index, offset in window_offsets(filters.shape[1:-2]):
        taken = shifted(values, offset)
        for o in range(channels):
            first = o // width * width
            for i in range(width):
                tap = filters[(slice(None), *index, i, o)]
                tap = tap.reshape(-1, *[1] * (values.ndim - 2))
                result[..., o] += tap * taken[..., first + i]
    return result
