"""Pictures of results; matplotlib is imported when one is drawn."""


def axes(ax=None):
    """The axes to draw into.

    Args:
        ax: axes of matplotlib; None: those of a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "`plot` needs matplotlib: pip install keras-norm[plot]"
        ) from error
    return pyplot.figure().subplots()


def named(ax, names):
    """Names below the axis, one at each place 0, 1, 2 ..."""
    ax.set_xticks(range(len(names)), list(names), rotation=90)
    return ax
