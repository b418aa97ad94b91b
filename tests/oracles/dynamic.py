"""Dynamic normalization (combinations.md 2.5)."""

import itertools
from types import SimpleNamespace

import numpy as np

from .batch_gradient import clean
from .batch_gradient import through_affine
from .common import affine
from .common import from_npc
from .common import over_sets
from .common import prepare
from .common import settings
from .common import to_npc
from .common import weighted_mean
from .entry_sets import MOMENTS
from .entry_sets import batch_or_state
from .entry_sets import standardize
from .entry_sets import through_sets
from .entry_sets import through_standardize
from .mixtures import BATCH
from .mixtures import float64
from .mixtures import sigmoid
from .shapes import start

DEFAULTS = {"initial": "random", "hard": True, "seed": None, **BATCH}


def prime_factors(number):
    """Ascending, with repetitions: 12 -> [2, 2, 3]."""
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found


def joined_channels(channels, joined):
    """(C,) number of the set of each channel.

    Channels are numbers with a digit for every prime factor; those that
    differ in digits that are `joined` alone belong together.
    """
    digits = np.unravel_index(np.arange(channels), prime_factors(channels))
    sets = np.zeros(channels, int)
    factors = prime_factors(channels)
    for digit, factor, on in zip(digits, factors, joined, strict=True):
        sets = sets * factor + (0 if on else digit)
    return sets


def opened(logits, hard):
    """Gates: 1 where the logit is positive, or its sigmoid."""
    logits = float64(logits)
    if hard:
        return (logits > 0).astype("float64")
    return sigmoid(logits)


def share(gates, pattern):
    """prod of g where the pattern is on and of 1 - g where it is off."""
    return np.prod(np.where(pattern, gates, 1 - gates))


def patterns(gates):
    """All (pattern, share, derivatives of the share by the gates)."""
    for pattern in itertools.product((False, True), repeat=len(gates)):
        slopes = []
        for i, on in enumerate(pattern):
            others = np.delete(gates, i), np.delete(pattern, i)
            slopes.append((1 if on else -1) * share(*others))
        yield pattern, share(gates, np.array(pattern)), np.array(slopes)


def pattern_means(x, w, state, training, pattern):
    """E[x] and E[x^2] of the set of every entry; and the sets.

    The last gate joins the samples; in inference their means are the stored
    ones of each channel, of which a set of channels takes the average.
    """
    *of_channels, of_batch = pattern
    samples, _, channels = x.shape
    n, _, _ = np.indices(x.shape)
    sets = joined_channels(channels, of_channels)
    if of_batch and not training:
        mean, variance = (state[name] for name in MOMENTS)
        first, second = np.zeros(channels), np.zeros(channels)
        for c in range(channels):
            together = sets == sets[c]
            first[c] = np.mean(mean[together])
            second[c] = np.mean((variance + mean**2)[together])
        return (
            np.broadcast_to(first, x.shape),
            (np.broadcast_to(second, x.shape)),
            None,
        )
    numbers = sets + (0 if of_batch else channels * n)
    labels = np.broadcast_to(numbers, x.shape)
    count = channels * samples
    first = over_sets(weighted_mean, x, w, labels, count)
    second = over_sets(weighted_mean, x**2, w, labels, count)
    return first[labels], second[labels], (labels, count)


def _forward(x, w, weights, state, training, s):
    """M = sum over the patterns of share M_s, Q likewise, var = Q - M^2.

    Relative to the mean of everything, as the difference cancels.
    With masks of single channels, half-open gates and uneven counts the text
    says nothing; here every entry of a joined set counts once.
    """
    _, _, new = batch_or_state(x, w, state, training, s)
    pivot = weighted_mean(x, w)
    x = x - pivot
    state = {**state, "moving_mean": state["moving_mean"] - pivot}
    gates = opened(
        [
            *np.ravel(weights["channel_gates"]),
            np.ravel(weights["batch_gate"])[0],
        ],
        s.hard,
    )
    parts, mean, square = [], np.zeros(x.shape), np.zeros(x.shape)
    for pattern, of_all, slopes in patterns(gates):
        if of_all == 0 and not np.any(slopes):
            continue
        first, second, sets = pattern_means(x, w, state, training, pattern)
        mean = mean + of_all * first
        square = square + of_all * second
        parts.append((of_all, slopes, first, second, sets))
    return SimpleNamespace(
        x=x,
        mean=mean,
        variance=square - mean**2,
        gates=gates,
        parts=parts,
        new=new,
    )


def dynamic_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - M) / sqrt(Q - M^2 + eps) + beta.

    M = U mean V, Q = U E[x^2] V: averages over the samples if batch_gate is
    open, and over each factor of the channels whose gate is open.
    """
    s = settings(config, **DEFAULTS)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("DynamicNormalization", config, shape, state)
    f = _forward(clean(x, w), w, weights, state, training, s)
    y = affine(standardize(f.x, f.mean, f.variance, s), weights, s)
    return from_npc(y, s.axis, shape), f.new


def dynamic_gradient(
    inputs, config, weights, state, upstream, mask=None, training=True
):
    """([dx], {weight: gradient}).

    A hard gate has the gradient of a soft one of the same value, and hands it
    to its logit as it is.
    """
    s = settings(config, **DEFAULTS)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("DynamicNormalization", config, shape, state)
    f = _forward(clean(x, w), w, weights, state, training, s)
    z = standardize(f.x, f.mean, f.variance, s)
    dz, gradients = through_affine(to_npc(upstream, s.axis), z, weights, s)
    dx, dmean, dsquare = through_standardize(dz, f.x, f.mean, f.variance, s)
    dmean = dmean - 2 * f.mean * dsquare
    dgates = np.zeros(len(f.gates))
    for of_all, slopes, first, second, sets in f.parts:
        dgates += slopes * np.sum(dmean * first + dsquare * second)
        if sets is not None:
            # E[x^2] = var + E[x]^2.
            dfirst = dmean + 2 * first * dsquare
            dx = dx + through_sets(
                f.x, w, *sets, of_all * dfirst, of_all * dsquare
            )
    if not s.hard:
        dgates = dgates * f.gates * (1 - f.gates)
    gradients["channel_gates"] = dgates[:-1].reshape(
        np.shape(weights["channel_gates"])
    )
    gradients["batch_gate"] = dgates[-1].reshape(
        np.shape(weights["batch_gate"])
    )
    return [from_npc(dx, s.axis, shape)], gradients
