"""Every normalization technique of the package: one row per method.

`METHODS` lists the rows, `find` looks one up by any of its names,
`markdown_table` renders the table of README (`python -m keras_norm.catalog`
prints it) and `bibliography` the references in BibTeX. Nothing here imports
Keras; only the status of a method, asked for at run time, looks into
`keras_norm`.

The rows follow the survey by Huang et al., "Normalization Techniques in
Training DNNs: Methodology, Analysis and Application" (arXiv 2009.12836).

Example:
>>> from keras_norm import catalog
>>> catalog.find("GN").area
'group'
"""

from keras_norm.catalog.chapters import METHODS
from keras_norm.catalog.entries import CHAPTERS
from keras_norm.catalog.entries import MASKS
from keras_norm.catalog.entries import Citation
from keras_norm.catalog.entries import Method
from keras_norm.catalog.lookup import find
from keras_norm.catalog.rendering import bibliography
from keras_norm.catalog.rendering import markdown_table

__all__ = [
    "CHAPTERS",
    "MASKS",
    "METHODS",
    "Citation",
    "Method",
    "bibliography",
    "find",
    "markdown_table",
]
