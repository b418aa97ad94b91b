"""Integers A, B and a divisor D that replace y = slope * q + offset exactly.

Of integer codes q, and of results that are codes too,

    clip(floor(slope q + offset)) = clip(floor((A q + B) / D)).

The left side rises or falls from one code to the next at certain q: nothing
else matters. With j D <= A q + B where the code has reached j, and A q + B <
j D where it has not, at the few q on either side of each rise, equality holds
for every q. For given D and A that is an interval of B.
"""

from typing import NamedTuple

import numpy as np


class Conditions(NamedTuple):
    """The inequalities of one channel, for a slope of at least 0.

    Attributes:
        reached: (R, 2): q and j with A q + B >= j D.
        missed: (M, 2): q and j with A q + B < j D.
    """

    reached: np.ndarray
    missed: np.ndarray


class FixedPoint(NamedTuple):
    """Integers of all channels.

    Attributes:
        multiplier: (C,), int64: A.
        bias: (C,), int64: B.
        divisor: D, of all channels.
    """

    multiplier: np.ndarray
    bias: np.ndarray
    divisor: int


def conditions(slope, offset, inputs, outputs) -> Conditions:
    """The inequalities that say where the codes change.

    Args:
        slope: of one channel, at least 0.
        offset: of one channel.
        inputs: (least, greatest) q.
        outputs: (least, greatest) code.
    """
    low, high = (code(slope, offset, q, outputs) for q in inputs)
    levels = np.arange(low + 1, high + 1)
    # The first q of each level: near the solution, then by trying.
    guess = (levels - offset) / slope if len(levels) else levels
    first = np.clip(np.ceil(guess), *inputs).astype("int64")
    while True:
        late = (first > inputs[0]) & (
            code(slope, offset, first - 1, outputs) >= levels
        )
        early = code(slope, offset, first, outputs) < levels
        if not (late.any() or early.any()):
            break
        first = first - late + early
    reached = [np.stack([first, levels], 1)]
    missed = [np.stack([first - 1, levels], 1)]
    if low > outputs[0]:
        reached.append(np.array([[inputs[0], low]]))
    if high < outputs[1]:
        missed.append(np.array([[inputs[1], high + 1]]))
    return Conditions(
        np.concatenate(reached).astype("int64"),
        np.concatenate(missed).astype("int64"),
    )


def code(slope, offset, q, outputs):
    """The code of q, in float64."""
    found = np.floor(slope * np.asarray(q, "float64") + offset)
    return np.clip(found, *outputs).astype("int64")


def exact(slope, offset, inputs, outputs, divisors, limit):
    """The integers of the first divisor that has them; None: of none.

    Args:
        slope: (C,), in float64.
        offset: (C,), in float64.
        inputs: (least, greatest) q.
        outputs: (least, greatest) code.
        divisors: what to try, in this order.
        limit: |A q| + |B| must be less.
    """
    signs = np.where(slope < 0, -1, 1)
    mirrored = {1: inputs, -1: (-inputs[1], -inputs[0])}
    channels = [
        (abs(a), b, conditions(abs(a), b, mirrored[s], outputs))
        for a, b, s in zip(slope, offset, signs, strict=True)
    ]
    reach = max(abs(q) for q in inputs)
    order = list(range(len(channels)))
    for divisor in divisors:
        found = {}
        for index in order:
            solved = solution(*channels[index], divisor, reach, limit)
            if solved is None:
                # Most divisors fail here: try this one first next time.
                order.remove(index)
                order.insert(0, index)
                break
            found[index] = solved
        else:
            a, b = np.array([found[i] for i in sorted(found)], "int64").T
            return FixedPoint(signs * a, b, int(divisor))
    return None


def solution(slope, offset, wanted, divisor, reach, limit):
    """(A, B) of one channel, or None."""
    near = int(np.floor(slope * divisor))
    if (near + 1) * reach >= 2 * limit:
        return None
    for a in sorted((near, near + 1), key=lambda a: abs(a - slope * divisor)):
        q, j = wanted.reached.T
        least = np.max(j * divisor - a * q, initial=-(2**62))
        q, j = wanted.missed.T
        greatest = np.min(j * divisor - 1 - a * q, initial=2**62)
        if least > greatest:
            continue
        b = int(np.clip(np.round(offset * divisor), least, greatest))
        if a * reach + abs(b) < limit:
            return a, b
    return None


def rounded(slope, offset, divisor) -> FixedPoint:
    """The nearest integers for a divisor.

    With them (A q + B) / D is within (|q| + 1) / (2 D) of slope q + offset.
    """
    a, b = np.round(slope * divisor), np.round(offset * divisor)
    return FixedPoint(a.astype("int64"), b.astype("int64"), int(divisor))


def mismatches(slope, offset, found: FixedPoint, inputs, outputs) -> int:
    """Of how many pairs of a channel and a q the codes differ.

    All q are tried, in blocks.
    """
    wrong = 0
    for start in range(inputs[0], inputs[1] + 1, BLOCK):
        q = np.arange(start, min(start + BLOCK, inputs[1] + 1))[:, None]
        expected = code(slope, offset, q, outputs)
        y = np.floor_divide(found.multiplier * q + found.bias, found.divisor)
        wrong += int(np.sum(np.clip(y, *outputs) != expected))
    return wrong


# Inputs at a time.
BLOCK = 4096
