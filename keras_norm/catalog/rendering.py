"""The catalog as a table for README and as a bibliography."""

from collections.abc import Iterable

from keras_norm import errors
from keras_norm.catalog.chapters import METHODS
from keras_norm.catalog.entries import CHAPTERS
from keras_norm.catalog.entries import Method

_COLUMNS = (
    "#",
    "method",
    "public names",
    "area × operation × recovery",
    "statistics",
    "mask",
    "reference",
    "status",
)


def markdown_table(status: str | None = None) -> str:
    """The catalog in Markdown, one table per chapter.

    Args:
        status: `"available"` or `"planned"` for these rows only; `None` for
            all.

    Returns:
        A string without a final newline.

    Raises:
        ValueError: `status` is something else.

    Example:
    >>> print(markdown_table().splitlines()[0])
    ### Area: which entries share statistics
    """
    allowed = ["available", "planned"]
    if status is not None and status not in allowed:
        raise errors.unknown_name("status", status, allowed)
    parts = []
    for chapter, heading in CHAPTERS.items():
        # Asked once per row: a status is a look-up of names.
        rows = [(m, m.status) for m in METHODS if m.chapter == chapter]
        lines = [
            _line(_cells(method, current))
            for method, current in rows
            if status in (None, current)
        ]
        if lines:
            head = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
            parts.append("\n".join([f"### {heading}", "", *head, *lines]))
    return "\n\n".join(parts)


def bibliography(methods: Iterable[Method] | None = None) -> str:
    """The citations in BibTeX, sorted by key, each once.

    Args:
        methods: Whose citations; `None` for the whole catalog.

    Returns:
        A string without a final newline.

    Example:
    >>> print(bibliography(METHODS[:1]).splitlines()[0])
    @inproceedings{ioffe2015batch,
    """
    chosen = METHODS if methods is None else methods
    by_key = {c.key: c for method in chosen for c in method.citations}
    return "\n\n".join(by_key[key].bibtex() for key in sorted(by_key))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(method: Method, status: str) -> list[str]:
    note = f" ({method.note})" if method.note else ""
    parts = (method.area, method.operation, method.recovery)
    decomposition = "-" if set(parts) == {"-"} else " × ".join(parts)
    references = [
        f"[{c.short_form}]({c.url})" if c.url else c.short_form
        for c in method.citations
    ]
    return [
        str(method.number),
        f"{method.name}{note}",
        ", ".join(f"`{name}`" for name in method.public_names) or "-",
        decomposition,
        method.statistics,
        method.mask,
        ", ".join(references) or method.origin,
        status,
    ]
