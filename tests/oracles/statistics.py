"""Chapter statistics: population batch normalization."""

import numpy as np

from .common import affine
from .common import from_npc
from .common import moments
from .common import moving_average
from .common import prepare
from .common import set_labels
from .common import settings
from .shapes import start


def population_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (combinations.md 3.2-3).

    used = w batch + (1 - w) state, w = weight, 1 - momentum (None) or 1/t
    (diminishing, t = 1 at the first call); "dinh": used divided by
    1 - w^(step + 1). State: momentum state + (1 - momentum) batch;
    diminishing: used. Inference: the state.
    """
    s = settings(
        config,
        weight=None,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        bias_correction=None,
        gradient="batch",
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("PopulationBatchNormalization", config, shape, state)
    names = ("moving_mean", "moving_variance")
    new = dict(state)
    if not training:
        used = [state[name] for name in names]
    else:
        labels, count = set_labels("batch", x.shape)
        mean, variance, total = moments(x, w, labels, count)
        step = int(state["step"])
        diminishing = s.weight == "diminishing"
        if diminishing:
            share = 1 / (step + 1)
        else:
            share = 1 - s.momentum if s.weight is None else s.weight
        used = []
        for name, batch in zip(names, (mean, variance), strict=True):
            mixed = share * batch + (1 - share) * state[name]
            if diminishing:
                new[name] = np.where(total > 0, mixed, state[name])
            else:
                new[name] = moving_average(
                    state[name], batch, total, s.momentum
                )
            if s.bias_correction == "dinh":
                mixed = mixed / (1 - share ** (step + 1))
            used.append(mixed)
        if np.sum(total) > 0:
            new["step"] = np.array(step + 1)
    mean, variance = used
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    return from_npc(affine(normalized, weights, s), s.axis, shape), new
