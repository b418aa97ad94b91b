"""Tables of the figures of `ci/benchmark mixtures`. Standard library only."""

import collections

from benchmarks import plan
from benchmarks.report import describe
from benchmarks.report import missing
from benchmarks.report import table_and_misses
from benchmarks.report import timed_table

# Of SwitchableNormalization's training step under XLA, in units of batch
# normalization's.
LIMIT = 1.6
HEADS = ("batch normalization", "self")

Verdict = collections.namedtuple("Verdict", "value self limit")


def rows(report):
    """Returns the cells of every case."""
    for case in report["cases"]:
        ratios = case["step"]["ratios"]
        yield [
            plan.MODES[case["mode"]].title,
            case["layer"],
            f"{case['step']['milliseconds']['ours']:.3g}",
            f"{ratios['batch']:.2f}",
            f"{ratios['self']:.2f}",
        ]


def tables(report):
    """Returns all figures as text."""
    return timed_table(["", "layer", "ms", *HEADS], rows(report), 20)


def targets(report):
    """Returns how many figures reach their targets, and which do not."""
    found = {
        f"{plan.MODES[case['mode']].title}, {case['layer']}, input "
        f"{plan.written(case['shape'])}": Verdict(
            case["step"]["ratios"]["batch"],
            case["step"]["ratios"]["self"],
            LIMIT,
        )
        for case in report["cases"]
        if case["layer"] == "SwitchableNormalization"
        and case["mode"] in ("tensorflow", "jax")
    }
    # Up to the noise of a program against itself.
    missed = {
        text: v
        for text, v in found.items()
        if not v.value <= v.limit * (1 + abs(v.self - 1))
    }
    return missing(found, missed)


def markdown(report):
    """Returns the table of README.md."""
    return table_and_misses(
        ["backend", "layer", "ms", HEADS[0]],
        [cells[:-1] for cells in rows(report)],
        "Milliseconds of a training step in float32 on (32, 56, 56, 64), "
        "medians of interleaved runs, and the same in units of our own batch "
        f"normalization. {describe(report['machine'])}.",
        targets(report),
    )
