"""The wording of our error messages, in one place.

Every message names the argument, states the rule, shows what was received and,
where there is one, the fix.
"""

import difflib


def received(rule: str, fix: str = "", /, **values: object) -> ValueError:
    """A `ValueError`: the rule, what was received, the fix."""
    shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return ValueError(f"{rule} Received: {shown}." + (f" {fix}" if fix else ""))


def _nearest(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}? " if close else ""


def unknown_name(argument: str, value: object, allowed: list) -> ValueError:
    """`argument` must be one of a list of names."""
    hint = _nearest(str(value), [str(a) for a in allowed])
    return received(
        f"`{argument}` must be one of {allowed}.",
        hint.strip(),
        **{argument: value},
    )


def unknown_keyword(owner: str, name: str, allowed: list[str]) -> TypeError:
    """A keyword that the class does not take."""
    return TypeError(
        f"{owner} has no argument {name!r}. {_nearest(name, allowed)}"
        f"Its arguments are: {', '.join(sorted(allowed))}."
    )


def axis_out_of_range(axis: object, shape: tuple) -> ValueError:
    """`axis` points outside the input."""
    rank = len(shape)
    return received(
        "`axis` must lie within the rank of the input.",
        f"Use a value from {-rank} to {rank - 1}; -1 is the last axis.",
        axis=axis,
        input_shape=shape,
    )


def undefined_dimension(axis: object, shape: tuple) -> ValueError:
    """The channel axis has no static size."""
    return ValueError(
        f"Axis {axis} of input tensor should have a defined dimension but the "
        f"layer received an input with shape {shape}. Give that axis a size in "
        "`keras.Input`, or choose another `axis`."
    )


def groups_must_divide(groups: int, channels: int) -> ValueError:
    """`groups` does not divide the channels."""
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    below = [d for d in divisors if d < groups][-1:]
    above = [d for d in divisors if d > groups][:1]
    near = " or ".join(str(d) for d in below + above)
    # Keras words the same rule the wrong way round; its words are kept for
    # those who match them.
    return received(
        "`groups` must divide the number of channels (in Keras' words: "
        f"`groups` ({groups}) must be a multiple of the number of channels "
        f"({channels})).",
        f"Use {near}, or -1 for one group per channel.",
        groups=groups,
        channels=channels,
    )


def more_groups_than_channels(groups: int, channels: int) -> ValueError:
    """More groups than channels."""
    return received(
        f"Number of groups ({groups}) cannot be more than the number of "
        f"channels ({channels}).",
        f"Use a divisor of {channels}, or -1 for one group per channel.",
        groups=groups,
        channels=channels,
    )


def no_state(area: object) -> ValueError:
    """Statistics of single samples cannot be kept."""
    return received(
        "`statistics` must be 'batch' where each sample has its own "
        "statistics: there is nothing to keep between batches.",
        area=area,
    )
