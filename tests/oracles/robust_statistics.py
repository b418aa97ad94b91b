"""Batch statistics together with those of earlier batches.

Each layer: the statistics that normalize and how they depend on the batch's;
then values and gradients follow. What the formula holds constant (the state
before the step, r and d) has no gradient.
"""

from types import SimpleNamespace

import numpy as np

from .common import moving_average
from .standardization import Standardization
from .standardization import from_variance

# Batch renormalization (combinations.md 3.1) ---------------------------------


def _renormalized(state, mean, variance, seen, s):
    """r = clip(sigma_B / sigma, 1/rmax, rmax), d = clip((mu_B - mu) / sigma,
    -dmax, dmax), sigma_B = sqrt(var_B + eps), mu and sigma before the step
    (sigma at least sqrt(eps)); then moving averages of mu and sigma."""
    sigma = np.maximum(state["moving_stddev"], np.sqrt(s.epsilon))
    deviation = np.sqrt(variance + s.epsilon)
    rmax, dmax = state["rmax"], state["dmax"]
    new = {
        "moving_mean": moving_average(
            state["moving_mean"], mean, seen, s.momentum
        ),
        "moving_stddev": moving_average(
            state["moving_stddev"], deviation, seen, s.momentum
        ),
    }
    return SimpleNamespace(
        mean=mean,
        variance=variance,
        r=np.clip(deviation / sigma, 1 / rmax, rmax),
        d=np.clip((mean - state["moving_mean"]) / sigma, -dmax, dmax),
        new={**state, **new},
        pull=lambda dmean, dvariance: (dmean, dvariance),
    )


batch_renormalization = Standardization(
    "BatchRenormalization",
    _renormalized,
    lambda state, s: (state["moving_mean"], state["moving_stddev"] ** 2),
    rmax=3.0,
    dmax=5.0,
    momentum=0.99,
)

# Full normalization (combinations.md 3.4) ------------------------------------


def _composed(state, mean, variance, seen, s):
    """e = (E[x], E[x^2]) <- (1 - a) e + a of the batch, a = 1 - momentum or
    min(1, t^-power); e normalizes, d e / d batch is taken as 1."""
    step = int(state["step"]) + 1
    a = 1 - s.momentum if s.momentum is not None else min(1, step**-s.power)
    first = state["moving_mean"]
    second = state["moving_variance"] + first**2
    first = moving_average(first, mean, seen, 1 - a)
    second = moving_average(second, variance + mean**2, seen, 1 - a)
    used = np.maximum(second - first**2, 0)

    def pull(dmean, dvariance):
        # var = E[x^2] - E[x]^2 at e; E[x^2]_B = var_B + mu_B^2.
        dfirst, dsecond = dmean - 2 * first * dvariance, dvariance
        return dfirst + 2 * mean * dsecond, dsecond

    return SimpleNamespace(
        mean=first,
        variance=used,
        new={
            "moving_mean": first,
            "moving_variance": used,
            "step": np.array(step),
        },
        pull=pull,
    )


full_normalization = Standardization(
    "FullNormalization",
    _composed,
    from_variance("moving_mean", "moving_variance"),
    momentum=None,
    power=0.75,
)

# Momentum batch normalization (combinations.md 3.7) --------------------------


def _with_momentum(state, mean, variance, seen, s):
    """lam old + (1 - lam) batch normalizes and is stored; the gradient is the
    batch's share, 1 - lam. Inference: moving averages of the batch's."""
    lam, tau = state["training_momentum"], state["moving_momentum"]
    new = dict(state)
    for name, batch in (("mean", mean), ("variance", variance)):
        for prefix, keep in (("training", lam), ("moving", tau)):
            key = f"{prefix}_{name}"
            new[key] = moving_average(state[key], batch, seen, keep)
    return SimpleNamespace(
        mean=new["training_mean"],
        variance=new["training_variance"],
        new=new,
        pull=lambda dmean, dvariance: (
            (1 - lam) * dmean,
            (1 - lam) * dvariance,
        ),
    )


momentum_batch_normalization = Standardization(
    "MomentumBatchNormalization",
    _with_momentum,
    from_variance("moving_mean", "moving_variance"),
    momentum=0.9,
)

# Memorized batch normalization (combinations.md 3.8) -------------------------


def _pooled(means, variances, count, decay):
    """mu = sum w_j mu_j, var = sum w_j (var_j + (mu_j - mu)^2), w_j ~
    decay^j over the `count` newest, newest first; 0 and 1 if there is none."""
    if not count:
        return np.zeros(means.shape[1]), np.ones(means.shape[1]), 0.0
    share = decay ** np.arange(count)
    share = (share / np.sum(share))[:, None]
    mean = np.sum(share * means[:count], axis=0)
    spread = variances[:count] + (means[:count] - mean) ** 2
    return mean, np.sum(share * spread, axis=0), share[0, 0]


def _memorized(state, mean, variance, seen, s):
    """The batch goes in front of the memory, whose last entry drops out; in
    a second forward pass it replaces the newest entry."""
    size = s.memory_size
    count = int(state["count"])
    replaces = bool(state.get("replacing", 0)) and count > 0
    kept = slice(1, None) if replaces else slice(None, -1)
    new = dict(state)
    for key, batch in (("memory_mean", mean), ("memory_variance", variance)):
        rows = np.concatenate([batch[None], state[key][kept]])
        new[key] = np.where(seen > 0, rows, state[key])
    count = count if replaces else min(count + 1, size)
    new["count"] = np.array(count)
    used, square, own = _pooled(
        new["memory_mean"], new["memory_variance"], count, s.decay
    )
    return SimpleNamespace(
        mean=used,
        variance=square,
        new=new,
        # d var / d mu_0 = 2 w_0 (mu_0 - mu): the rest sums to zero.
        pull=lambda dmean, dvariance: (
            own * (dmean + 2 * (mean - used) * dvariance),
            own * dvariance,
        ),
    )


def _remembered(state, s):
    mean, variance, _ = _pooled(
        state["memory_mean"],
        state["memory_variance"],
        int(state["count"]),
        s.decay,
    )
    return mean, variance + s.epsilon


memorized_batch_normalization = Standardization(
    "MemorizedBatchNormalization",
    _memorized,
    _remembered,
    memory_size=5,
    decay=0.9,
)
