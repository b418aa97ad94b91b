"""Where the methods were published; every entry has one key."""

from keras_norm.catalog.entries import Citation
from keras_norm.catalog.references import area
from keras_norm.catalog.references import domain
from keras_norm.catalog.references import mixture
from keras_norm.catalog.references import models
from keras_norm.catalog.references import operation
from keras_norm.catalog.references import recovery
from keras_norm.catalog.references import statistics
from keras_norm.catalog.references import training
from keras_norm.catalog.references import weights
from keras_norm.catalog.references import whitening

CITATIONS = (
    *area.CITATIONS,
    *operation.CITATIONS,
    *whitening.CITATIONS,
    *recovery.CITATIONS,
    *mixture.CITATIONS,
    *statistics.CITATIONS,
    *domain.CITATIONS,
    *weights.CITATIONS,
    *training.CITATIONS,
    *models.CITATIONS,
)

_BY_KEY = {citation.key: citation for citation in CITATIONS}


def cite(*keys: str) -> tuple[Citation, ...]:
    """The citations with these keys, in this order.

    Args:
        *keys: BibTeX keys.

    Returns:
        A tuple of `Citation`.

    Raises:
        KeyError: No citation has the key.

    Example:
    >>> cite("wu2018group")[0].short_form
    'Wu & He 2018'
    """
    return tuple(_BY_KEY[key] for key in keys)
