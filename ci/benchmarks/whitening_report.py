"""Tables of the figures of `ci/benchmark whitening`. Standard library only."""

import collections

from benchmarks import plan
from benchmarks.report import describe
from benchmarks.report import missing
from benchmarks.report import shown
from benchmarks.report import table_and_misses
from benchmarks.report import timed_table

Verdict = collections.namedtuple("Verdict", "target case value self limit")

TARGETS = {
    "floor": "training step in units of its products and factorization alone",
    "plain": "training step in units of a loop over the groups in PyTorch",
    "convolution": "inference in units of a 1x1 convolution",
}
# Under XLA, from so many channels on, with Newton steps.
FLOOR_LIMIT, FLOOR_CHANNELS = 1.5, 64
# On PyTorch, where there are groups.
PLAIN_LIMIT = 0.5
CONVOLUTION_LIMIT = 1.2
COLUMNS = ("floor", "keras", "plain", "convolution")
HEADS = ("floor", "Keras BN", "loop", "1x1 conv")


def verdicts(report):
    """Returns all figures of a report for which there is a target."""
    found = []
    for case in report["cases"]:
        channels = case["shape"][-1]
        limits = {"convolution": CONVOLUTION_LIMIT}
        xla = plan.MODES[case["mode"]].backend != "torch"
        newton = case["method"] == "newton"
        if xla and newton and channels >= FLOOR_CHANNELS:
            limits["floor"] = FLOOR_LIMIT
        if "plain" in case["step"]["ratios"] and case["size"] < channels:
            limits["plain"] = PLAIN_LIMIT
        for target, limit in limits.items():
            part = "inference" if target == "convolution" else "step"
            ratios = case[part]["ratios"]
            found.append(
                Verdict(target, case, ratios[target], ratios["self"], limit)
            )
    return found


def reached(verdict):
    return verdict.value <= verdict.limit


def rows(report):
    """Returns the cells of every case."""
    for case in report["cases"]:
        ratios = case["step"]["ratios"] | {
            "convolution": case["inference"]["ratios"]["convolution"]
        }
        yield [
            plan.MODES[case["mode"]].title,
            case["method"],
            str(case["shape"][-1]),
            str(case["size"]),
            f"{case['step']['milliseconds']['ours']:.3g}",
            *(shown(ratios.get(c)) for c in COLUMNS),
            shown(case["step"]["ratios"]["self"]),
        ]


def tables(report):
    """Returns all figures as text."""
    heads = ["", "method", "channels", "group", "ms", *HEADS, "self"]
    return timed_table(heads, rows(report), 10)


def targets(report):
    """Returns how many figures reach their targets, and which do not."""
    found = verdicts(report)
    missed = {
        f"{plan.MODES[v.case['mode']].title}, {v.case['method']}, "
        f"{v.case['shape'][-1]} channels in groups of {v.case['size']}: "
        f"{TARGETS[v.target]}": v
        for v in found
        if not reached(v)
    }
    return missing(found, missed)


def markdown(report):
    """Returns the table of README.md."""
    return table_and_misses(
        ["backend", "matrix by", "channels", "group", "ms", *HEADS],
        [cells[:-1] for cells in rows(report)],
        "Milliseconds of a training step on (32, 28, 28, channels) in "
        "float32, medians of interleaved runs, and the same in units of "
        "its matrix products and factorization alone (floor), of Keras' "
        "batch normalization, and of the published algorithm written as a "
        "loop over the groups in PyTorch; last, inference in units of a "
        f"1x1 convolution. {describe(report['machine'])}.",
        targets(report),
    )
