"""Tables of the figures of ci/benchmark. Standard library only."""

import collections
import math
import textwrap

from benchmarks import plan

# One figure and what it is held against; `self` is the ratio of ours to a copy
# of ours in the same run. value is None where the measurement failed.
Verdict = collections.namedtuple(
    "Verdict", "target mode layer shape value self limit"
)

# At most so many times the time of Keras' layer. More than 1 is what the
# comparison of equals may show.
KERAS_LIMIT = 1.1
KERAS_LIMITS = {
    ("torch-eager", "layer"): 1.45,  # the price of accuracy
    ("torch-eager", "group"): 0.7,
    ("jax", "group"): 0.6,
    ("jax", "instance"): 0.6,
}
# At most so many times the time of PyTorch's layer, when ours is compiled.
TORCH_LIMIT = 1.25
TORCH_LIMITS = {"layer": 1.8}
# At most so many times the floor, on inputs of so many bytes or more: smaller
# ones lie in the caches, and the call takes longer than the copy.
FLOOR_LIMITS = {("jax", "batch"): 2.5}
FLOOR_BYTES = 2**20
# Tensors of the input's size: one, and a tenth for the statistics of groups,
# which torch.nn's layers keep as well.
KEPT_LIMIT = 1.1

TARGETS = {
    "keras": "time in units of Keras' layer",
    "torch_nn": "time in units of torch.nn's layer, which is eager",
    "floor": f"time in units of the floor, {plan.FLOOR} copies of the tensor",
    "kept": "kept for the backward pass, in tensors of the input's size",
}
DIRECTIONS = {"step": "Forward and backward", "forward": "Forward"}
LAYERS = {
    "batch": "batch",
    "layer": "layer",
    "group": f"group ({plan.GROUPS})",
    "instance": "instance",
    "rms": "RMS",
}


def verdicts(report):
    """Returns all figures of a report for which there is a target."""
    found = []
    for case in report["cases"]:
        mode, layer = case["mode"], case["layer"]
        limits = {"keras": KERAS_LIMITS.get((mode, layer), KERAS_LIMIT)}
        if mode == "torch-compiled":
            limits["torch_nn"] = TORCH_LIMITS.get(layer, TORCH_LIMIT)
        large = 4 * math.prod(case["shape"]) >= FLOOR_BYTES
        if large and (mode, layer) in FLOOR_LIMITS:
            limits["floor"] = FLOOR_LIMITS[mode, layer]
        if mode != "tensorflow":  # There is no way to ask it.
            limits["kept"] = KEPT_LIMIT
        for target, limit in limits.items():
            value = noise = None
            if "error" not in case:
                ratios = case["step"]["ratios"]
                if target == "kept":
                    value = case["kept"]["ours"]
                else:
                    value, noise = ratios[target], ratios["self"]
            found.append(
                Verdict(target, mode, layer, case["shape"], value, noise, limit)
            )
    return found


def reached(verdict):
    return verdict.value is not None and verdict.value <= verdict.limit


def tables(report):
    """Returns all figures as text."""
    blocks = [timing(report, direction) for direction in DIRECTIONS]
    return "\n\n".join([*blocks, kept(report)])


def timing(report, direction):
    columns = ("ours", "keras", "torch_nn", "floor")
    head = ("ours", "Keras", "torch.nn", "floor", "|", "self")
    lines = [
        f"{DIRECTIONS[direction]}: milliseconds | ours in units of the others",
        row("", [*head, "/Keras", "/torch", "/floor"]),
    ]
    for case in report["cases"]:
        if "error" in case:
            message = case["error"].splitlines()[0][:70]
            lines.append(f"{label(case)}  failed: {message}")
            continue
        times = case[direction]["milliseconds"]
        ratios = case[direction]["ratios"]
        cells = [shown(times.get(c), 3) for c in columns]
        cells += ["|", shown(ratios["self"])]
        cells += [shown(ratios.get(c)) for c in columns[1:]]
        lines.append(row(label(case), cells))
    return "\n".join(lines)


def kept(report):
    columns = ("ours", "keras", "torch_nn")
    lines = [first_up(TARGETS["kept"]), row("", ["ours", "Keras", "torch.nn"])]
    for case in report["cases"]:
        if case.get("kept"):
            cells = [shown(case["kept"].get(c)) for c in columns]
            lines.append(row(label(case), cells))
    return "\n".join(lines)


def label(case):
    mode = plan.MODES[case["mode"]].title
    return f"{mode:18}{case['layer']:10}{plan.written(case['shape']):12}"


def row(label, cells):
    text = "".join(f"{c:>3}" if c == "|" else f"{c:>9}" for c in cells)
    return f"{label:40}{text}"


def first_up(text):
    return text[0].upper() + text[1:]


def shown(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def targets(report):
    """Returns the figures beside their targets as text."""
    found = verdicts(report)
    shapes = list(dict.fromkeys(tuple(v.shape) for v in found))
    cells = "".join(f"{plan.written(shape):>15}" for shape in shapes)
    lines = ["TARGETS, forward and backward (in parentheses: self-ratio)"]
    for target, title in TARGETS.items():
        groups = collections.defaultdict(list)
        for verdict in found:
            if verdict.target == target:
                groups[verdict.mode, verdict.layer].append(verdict)
        if groups:
            lines += ["", first_up(title), f"{'':40}{cells}"]
        for (mode, layer), group in groups.items():
            of_shape = {tuple(v.shape): v for v in group}
            text = f"  {plan.MODES[mode].title:18}{layer:10}"
            text += f"<= {group[0].limit:<7g}"
            for shape in shapes:
                text += f"{figure(of_shape.get(shape)):>15}"
            missed = [v for v in group if not reached(v)]
            lines.append(text + ("  missed" if missed else "  reached"))
    count = sum(map(reached, found))
    lines += ["", f"{count} of {len(found)} figures reach their target."]
    return "\n".join(lines)


def figure(verdict):
    """Returns a figure, marked where it misses its target."""
    if verdict is None:
        return ""
    mark = "" if reached(verdict) else "* "
    if verdict.value is None:
        return mark + "failed"
    noise = "" if verdict.self is None else f" ({verdict.self:.2f})"
    return f"{mark}{verdict.value:.2f}{noise}"


def markdown(report):
    """Returns the table of README.md."""
    machine = report["machine"]
    modes = [m for m in plan.MODES if any_case(report, m)]
    heads = [plan.MODES[m].title for m in modes]
    lines = [
        f"| layer | input | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(modes),
    ]
    keys = dict.fromkeys(
        (tuple(c["shape"]), c["layer"]) for c in report["cases"]
    )
    for shape, layer in keys:
        cells = [
            cell(case)
            for mode in modes
            for case in report["cases"]
            if (case["mode"], case["layer"]) == (mode, layer)
            and tuple(case["shape"]) == shape
        ]
        size = ", ".join(map(str, shape))
        lines.append(f"| {LAYERS[layer]} | ({size}) | {' | '.join(cells)} |")
    lines += [
        "",
        wrapped(
            "Milliseconds of a forward and backward pass in float32, medians "
            "of interleaved runs. In parentheses the same in units of Keras' "
            "layer and, on PyTorch, of torch.nn's (eager in both columns): "
            "less than 1 is faster. Ours in units of ours, which shows the "
            f"noise, is {self_range(report)}. {describe(machine)}."
        ),
    ]
    found = verdicts(report)
    missed = [v for v in found if not reached(v)]
    lines += [
        "",
        f"{len(found) - len(missed)} of {len(found)} figures reach their "
        f"target{', all but these:' if missed else '.'}",
        "",
    ]
    for v in missed:
        size = ", ".join(map(str, v.shape))
        lines.append(
            wrapped(
                f"* {plan.MODES[v.mode].title}, {LAYERS[v.layer]}, ({size}): "
                f"{TARGETS[v.target]}: "
                f"{shown(v.value)}, not {v.limit:g}.",
                "  ",
            )
        )
    return "\n".join(lines).rstrip()


def wrapped(text, indent=""):
    return textwrap.fill(
        text, 80, subsequent_indent=indent, break_on_hyphens=False
    )


def missing(found, missed):
    """Returns how many figures reach their target, and those that do not.

    Args:
        found: all verdicts.
        missed: {text of a case: verdict}, a verdict having value, limit
            and self, the ratio of a program to itself.
    """
    lines = [
        f"{len(found) - len(missed)} of {len(found)} figures reach their "
        f"target{', all but these:' if missed else '.'}",
        "",
    ]
    for text, v in missed.items():
        lines.append(
            wrapped(
                f"* {text}: {shown(v.value)}, not {v.limit:g} (self-ratio "
                f"{shown(v.self)}).",
                "  ",
            )
        )
    return "\n".join(lines).rstrip()


def timed_table(heads, rows, width):
    """Returns the training steps of all cases as text."""
    lines = ["Training step: milliseconds, and in units of ..."]
    for first, *rest in [heads, *rows]:
        lines.append(f"{first:18}" + "".join(f"{c:>{width}}" for c in rest))
    return "\n".join(lines)


def table_and_misses(heads, rows, text, misses):
    """Returns a table for README.md, what it shows, and what it misses."""
    lines = [
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]
    return "\n".join([*lines, "", wrapped(text), "", misses])


def describe(machine):
    """Returns what the figures depend on, in a line."""
    versions = ", ".join(f"{n} {v}" for n, v in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cpus']} cores; {versions}"


def any_case(report, mode):
    return any(case["mode"] == mode for case in report["cases"])


def cell(case):
    if "error" in case:
        return "failed"
    ratios = case["step"]["ratios"]
    others = [ratios[c] for c in ("keras", "torch_nn") if c in ratios]
    time = case["step"]["milliseconds"]["ours"]
    return f"{time:.3g} ({', '.join(map(shown, others))})"


def self_range(report):
    """Returns the range of the comparisons of ours with ours."""
    ratios = [
        case["step"]["ratios"]["self"]
        for case in report["cases"]
        if "error" not in case
    ]
    if not ratios:
        return "not known"
    return f"{min(ratios):.2f} to {max(ratios):.2f}"
