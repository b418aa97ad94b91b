"""EagleEye: which of several pruned models is worth fine-tuning.

Li, Wu, Su & Wang, 2020, https://arxiv.org/abs/2007.02491
"""

from dataclasses import dataclass
from typing import Any

import keras

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.models.labelled_data import LabelledBatches
from keras_norm.models.model_scores import check_metric
from keras_norm.models.model_scores import is_function
from keras_norm.models.model_scores import score_of
from keras_norm.models.statistics_pass import StatisticsPass
from keras_norm.tools.adapt_statistics import adapt_statistics
from keras_norm.tools.recompute_statistics import ProgressBar

MODES = ("max", "min")


@dataclass(frozen=True)
class Candidate:
    """One candidate and its score.

    Attributes:
        name: as it was given, its place in a list, or the model's name.
        score: of the metric.
        candidate: what was given: a model, or a function that makes it.
        parameters: number of them.
    """

    name: str
    score: float
    candidate: Any
    parameters: int


class CandidateRanking(list):
    """`Candidate`s, the best first; prints as a table."""

    def __str__(self) -> str:
        """The table."""
        width = max([4, *(len(one.name) for one in self)])
        lines = [f"{'name'.ljust(width)}  score      parameters"]
        lines += [
            f"{one.name.ljust(width)}  {one.score:<9.6g}  {one.parameters}"
            for one in self
        ]
        return "\n".join(lines)


def evaluate_candidates(
    candidates,
    calibration_data,
    validation_data,
    steps: int | None = None,
    batch_size: int = 32,
    metric="accuracy",
    mode: str = "max",
    method: str = "cumulative",
    layers=None,
    include_frozen: bool = False,
    verbose: int | str = 0,
) -> CandidateRanking:
    """Rank models by what they do with statistics of their own.

    A pruned model still has the moving statistics of the model that it comes
    from, and its accuracy with these says little about the one after
    fine-tuning. Each candidate gets the statistics of `calibration_data`
    (`adapt_statistics`: nothing is trained, gamma and beta stay), and is
    evaluated on `validation_data`, a part of the training data that is held
    out. Afterwards it has the statistics that it came with.

    Args:
        candidates: models, or functions without arguments that make one (so
            that only one is in memory): a list of them, or {name: candidate}.
        calibration_data: training data, what `fit` takes; read again for each
            candidate. Targets are left out.
        validation_data: (x, y) or (x, y, weights), or a dataset of such
            batches, with an end; read again for each candidate.
        steps: number of batches of `calibration_data`; None: all.
        batch_size: samples of a batch of arrays, of both.
        metric: "accuracy" (as `compile` takes it: binary, categorical or
            sparse), a Keras metric or its name, or a function of a model that
            returns a number.
        mode: "max" if more is better, "min" if less is.
        method: "cumulative" for the statistics of the calibration data alone,
            or "moving" for the candidate's own statistics moved by each batch,
            as published.
        layers: whose statistics; see `recompute_statistics`.
        include_frozen: also of layers that are not trainable.
        verbose: 1 shows a progress bar over the candidates.

    Returns:
        A list of `Candidate` (name, score, candidate, parameters), the best
        first; it prints as a table.

    Raises:
        ValueError: no candidates, or what is no model; iterators, which are
            used up by the first; validation data without targets; an unknown
            metric, mode or method; a candidate without statistics (else see
            `adapt_statistics`).

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.Dense(4),
    ...     keras.layers.BatchNormalization(), keras.layers.ReLU(),
    ...     keras.layers.Dense(2)])
    >>> x = np.random.normal(size=(64, 3)).astype("float32")
    >>> y = (x.sum(axis=1) > 0).astype(int)
    >>> ranking = kn.tools.evaluate_candidates(
    ...     {f"{share}": kn.tools.prune(model, share) for share in (0.25, 0.5)},
    ...     x, (x, y))
    >>> sorted((one.name, one.parameters) for one in ranking)
    [('0.25', 32), ('0.5', 22)]

    Reference:

    - Li et al., EagleEye: Fast Sub-net Evaluation for Efficient Neural Network
      Pruning, ECCV 2020, https://arxiv.org/abs/2007.02491

    Note: the published program runs everything in training mode, dropout too,
    over about 100 batches with the momentum of the layers; here all but
    normalization infers.
    """
    named = listed(candidates)
    if mode not in MODES:
        raise errors.unknown_name("mode", mode, list(MODES))
    check_metric(metric)
    positive("batch_size", batch_size)
    if hasattr(calibration_data, "__next__"):
        raise errors.received(
            "`calibration_data` must be what can be read again.",
            "Give arrays, a dataset, a PyDataset or a DataLoader.",
            calibration_data=type(calibration_data).__name__,
        )
    validation = None
    if not is_function(metric):
        validation = LabelledBatches(
            "validation_data", validation_data, batch_size
        )
    found = CandidateRanking()
    bar = ProgressBar(len(named), verbose)
    for number, (name, candidate) in enumerate(named):
        model = model_of(name, candidate)
        run = StatisticsPass(model, layers, include_frozen)
        with run.restored():
            adapt_statistics(
                model,
                calibration_data,
                steps,
                batch_size,
                method,
                # The published average goes on from what there is.
                reset=method != "moving",
                layers=layers,
                include_frozen=include_frozen,
            )
            score = score_of(model, metric, validation)
        parameters = model.count_params()
        found.append(Candidate(name, score, candidate, parameters))
        bar.update(number + 1)
    bar.finish()
    found.sort(key=lambda one: one.score, reverse=mode == "max")
    return found


def listed(candidates) -> list:
    """[(name, candidate)]."""
    if isinstance(candidates, dict):
        named = [(str(name), one) for name, one in candidates.items()]
    elif isinstance(candidates, (list, tuple)):
        named = [(str(i), one) for i, one in enumerate(candidates)]
    else:
        named = []
    if not named or not all(callable(one) for _, one in named):
        raise errors.received(
            "`candidates` must be models, or functions that make one: a list "
            "of them, or {name: candidate}.",
            candidates=candidates,
        )
    return named


def model_of(name, candidate) -> keras.Model:
    """The model of a candidate."""
    made = candidate
    if not isinstance(made, keras.Model):
        made = candidate()
    if not isinstance(made, keras.Model):
        raise errors.received(
            "`candidates` must be models, or functions that make one.",
            name=name,
            made=type(made).__name__,
        )
    return made
