"""One adapter per method: from the fields of a row to a `Plan`.

An adapter knows its method's formula and the names that programs give to its
arguments; it never looks at a row's name.
"""

import keras_norm as kn
from golden.adapters import area
from golden.adapters import backward_statistics
from golden.adapters import compensated_statistics
from golden.adapters import deconvolution
from golden.adapters import domain
from golden.adapters import mixture
from golden.adapters import operation
from golden.adapters import recovery
from golden.adapters import recurrent
from golden.adapters import spatial
from golden.adapters import statistics
from golden.adapters import whitening
from golden.adapters import whitening_areas
from golden.adapters import window

CHAPTERS = (
    area,
    operation,
    window,
    whitening,
    whitening_areas,
    deconvolution,
    recovery,
    spatial,
    mixture,
    statistics,
    backward_statistics,
    compensated_statistics,
    domain,
    recurrent,
)

# {method: adapter}
ADAPTERS = {
    name: adapter
    for chapter in CHAPTERS
    for name, adapter in chapter.ADAPTERS.items()
}
# {method: adapter} of layers that contain a method under another name: its rows
# are checked against them too.
CONTAINED = {
    name: adapter
    for chapter in CHAPTERS
    for name, adapter in getattr(chapter, "CONTAINED", {}).items()
}


def resolve(method):
    """What `keras_norm` has under a row's method; `None`: not implemented."""
    place = kn
    for part in public_name(method).split("."):
        place = getattr(place, part, None)
    return place


def public_name(method):
    """A row's method as the catalog writes it."""
    return method if "." in method else f"layers.{method}"
