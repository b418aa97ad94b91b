"""Finding a method by any of its names."""

import difflib
import re

from keras_norm import errors
from keras_norm.catalog.chapters import METHODS
from keras_norm.catalog.entries import Method


def find(name: str) -> Method:
    """The method with this name.

    Args:
        name: A public name with or without its namespace, an acronym, an
            alias or the method's name. Case, spaces, underscores and hyphens
            do not matter.

    Returns:
        A `Method`.

    Raises:
        ValueError: No method has the name, or several share it.

    Example:
    >>> find("batch norm").public_names
    ('layers.BatchNormalization',)
    """
    found = _INDEX.get(_plain(name), ())
    if len(found) == 1:
        return found[0]
    if found:
        shared = " and ".join(_described(method) for method in found)
        raise errors.received(
            "`name` must stand for one method.",
            f"It is shared by {shared}. Use a name that is not shared.",
            name=name,
        )
    raise errors.received(
        "`name` must be a public name, an acronym, an alias or the name of a "
        "method in the catalog.",
        _suggestion(name),
        name=name,
    )


def _plain(name: str) -> str:
    plain = re.sub(r"[\s_-]+", "", str(name)).lower()
    return plain.removeprefix("kerasnorm.").removeprefix("kn.")


def _spellings(method: Method) -> list[str]:
    short = [name.rpartition(".")[2] for name in method.public_names]
    return [
        *short,
        *method.public_names,
        method.name,
        *method.aliases,
        *method.acronyms,
    ]


def _index() -> dict[str, tuple[Method, ...]]:
    index: dict[str, tuple[Method, ...]] = {}
    for method in METHODS:
        for plain in {_plain(spelling) for spelling in _spellings(method)}:
            index[plain] = (*index.get(plain, ()), method)
    return index


def _described(method: Method) -> str:
    first = f" ({method.public_names[0]})" if method.public_names else ""
    return f"{method.number} {method.name}{first}"


def _suggestion(name: str) -> str:
    # The first spelling wins, so that "BatchNormalization" is suggested as it
    # is written in code and not as "batch normalization".
    written: dict[str, str] = {}
    for method in METHODS:
        for spelling in _spellings(method):
            written.setdefault(_plain(spelling), spelling)
    close = difflib.get_close_matches(_plain(name), written, n=3, cutoff=0.6)
    if not close:
        return "`keras_norm.catalog.METHODS` lists them all."
    return f"Did you mean {', '.join(repr(written[c]) for c in close)}?"


_INDEX = _index()
