"""The generic layer and the operations beneath the others."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=111,
        name="composed normalization",
        public_names=("layers.ComposedNormalization",),
        aliases=("generic normalization",),
        chapter="generic",
        section="beyond the survey",
        citations=cite("huang2023normalization"),
        area="any",
        operation="any",
        statistics="any",
        recovery="any",
        mask="statistics",
        note="any area, operation, statistics and recovery",
        origin="the survey's decomposition as one layer",
    ),
    Method(
        number=112,
        name="linear algebra of whitening",
        public_names=("ops.inverse_square_root", "ops.covariance"),
        aliases=("inverse square root of a covariance",),
        chapter="generic",
        section="5.1.2",
        citations=cite("bini2005algorithms", "huang2018decorrelated"),
    ),
)
