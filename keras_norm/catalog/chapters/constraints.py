"""Constraints, penalties and Riemannian optimizers (section 6.2)."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=87,
        name="constraints by projection",
        public_names=(
            "constraints.UnitNorm",
            "constraints.CenteredUnitNorm",
            "constraints.Orthogonal",
            "constraints.SpectralNorm",
        ),
        acronyms=("PBWN",),
        aliases=("projection-based weight normalization",),
        chapter="constraints",
        section="6.2",
        citations=cite("huang2017projection", "huang2018orthogonal"),
        note="per neuron; `every` so many steps",
    ),
    Method(
        number=88,
        name="orthogonality penalties",
        public_names=(
            "regularizers.SoftOrthogonal",
            "regularizers.MutualCoherence",
            "regularizers.SpectralRestrictedIsometry",
            "regularizers.OffDiagonalOrthogonal",
        ),
        acronyms=("SO", "DSO", "SRIP", "MC"),
        aliases=("orthogonal regularization", "double soft orthogonality"),
        chapter="constraints",
        section="6.2, 9.3",
        citations=cite("bansal2018can", "brock2019large"),
        golden=("srip", "ortho_reg_biggan"),
        note="soft, double soft, mutual coherence, SRIP, BigGAN's off-diagonal",
    ),
    Method(
        number=89,
        name="penalties for approximately whitened activations",
        public_names=("regularizers.Decorrelation",),
        acronyms=("DeCov",),
        aliases=("decorrelation penalty",),
        chapter="constraints",
        section="5.1.2",
        citations=cite("cogswell2016reducing"),
    ),
    Method(
        number=90,
        name="Riemannian optimization",
        public_names=(
            "optimizers.Riemannian",
            "optimizers.CayleySGD",
            "optimizers.CayleyAdam",
        ),
        aliases=("Stiefel optimization", "Cayley optimizers"),
        chapter="constraints",
        section="6.2",
        citations=cite(
            "li2020efficient", "cho2017riemannian", "huang2018orthogonal"
        ),
        golden=("cayley_sgd", "cayley_adam"),
        note="Stiefel, oblique, Grassmann",
    ),
)
