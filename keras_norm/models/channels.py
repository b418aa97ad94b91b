"""Channels of the tensors of a model, and which of them are one and the same.

A channel that two layers share, through a sum, a concatenation or a depthwise
convolution, can be removed from both or from none.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Places:
    """Where the channels of a tensor are.

    Attributes:
        axis: the axis of the tensor along which they are, not negative.
        ids: the channel of each entry of that axis.
    """

    axis: int
    ids: np.ndarray

    def __len__(self):
        return len(self.ids)


class Channels:
    """Channels by their numbers, some of them tied, some of them pinned."""

    def __init__(self):
        self._parents: list[int] = []
        # Of the first of tied ones: why it must stay, what ties it.
        self._pinned: dict[int, list] = {}
        self._ties: dict[int, list] = {}

    def __len__(self):
        return len(self._parents)

    def fresh(self, number: int) -> np.ndarray:
        """New channels."""
        start = len(self)
        self._parents += range(start, start + number)
        return np.arange(start, start + number)

    def first(self, channel: int) -> int:
        """The one that stands for a channel and those it is tied to."""
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = parents[parents[channel]]
            channel = parents[channel]
        return channel

    def firsts(self, ids) -> np.ndarray:
        """`first` of each."""
        return np.array([self.first(int(i)) for i in ids], "int64")

    def tie(self, ids, others, name: str) -> None:
        """Channels of two tensors are the same, one by one."""
        for a, b in zip(ids, others, strict=True):
            a, b = self.first(int(a)), self.first(int(b))
            if a == b:
                continue
            self._parents[b] = a
            for table in (self._pinned, self._ties):
                found = table.pop(b, [])
                known = table.setdefault(a, [])
                known += [one for one in found if one not in known]
            self._note(self._ties, a, name)

    def pin(self, ids, why: str) -> None:
        """Channels that must stay."""
        for channel in set(self.firsts(ids)):
            self._note(self._pinned, channel, why)

    def pinned(self, channel: int) -> list:
        """Why a channel must stay; empty if nothing is known."""
        return self._pinned.get(self.first(channel), [])

    def ties(self, channel: int) -> list:
        """Names of the layers that tie a channel to others."""
        return self._ties.get(self.first(channel), [])

    def _note(self, table, channel, text):
        found = table.setdefault(channel, [])
        if text not in found:
            found.append(text)
