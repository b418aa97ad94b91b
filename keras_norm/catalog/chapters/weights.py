"""Wrappers that re-parametrize a layer's kernel (survey section 6)."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=78,
        name="weight normalization",
        public_names=("layers.WeightNormalization",),
        acronyms=("WN",),
        aliases=("weight norm",),
        chapter="weights",
        section="6.1, 6.2",
        citations=cite("salimans2016weight"),
        golden=(
            "weight_norm_conv",
            "weight_norm_conv_transpose",
            "weight_norm_dense",
            "wn_fixed_scale",
        ),
        note="data-dependent start",
    ),
    Method(
        number=79,
        name="centered weight normalization",
        public_names=("layers.CenteredWeightNormalization",),
        acronyms=("CWN",),
        aliases=("centred weight normalization",),
        chapter="weights",
        section="6.1",
        citations=cite("huang2017centered"),
        golden=("cwn",),
    ),
    Method(
        number=80,
        name="weight standardization",
        public_names=(
            "layers.WeightStandardization",
            "layers.ScaledWeightStandardization",
            "layers.WeightCentralization",
        ),
        acronyms=("WS", "SWS"),
        aliases=("weight centering", "centred convolution"),
        chapter="weights",
        section="6.1, 6.2",
        citations=cite(
            "qiao2019micro",
            "brock2021characterizing",
            "brock2021high",
            "yan2020towards",
        ),
        golden=(
            "weight_standardization_qiao",
            "weight_standardization_timm",
            "scaled_ws_nfnet",
            "scaled_ws_timm",
            "weight_centralization",
        ),
        note="plain, scaled; weight centralization",
    ),
    Method(
        number=81,
        name="spectral normalization",
        public_names=("layers.SpectralNormalization", "ops.power_iteration"),
        acronyms=("SN",),
        aliases=("spectral weight normalization",),
        chapter="weights",
        section="6.1, 9.3",
        citations=cite(
            "miyato2018spectral",
            "sedghi2019singular",
            "farnia2019generalizable",
        ),
        golden=(
            "conv_exact_singular_values",
            "spectral_norm_biggan",
            "spectral_norm_conv",
            "spectral_norm_dense",
        ),
        note=(
            "drop-in for Keras; gradient through sigma; reshaped kernel or "
            "the convolution itself"
        ),
    ),
    Method(
        number=82,
        name="orthogonal weight normalization",
        public_names=("layers.OrthogonalWeightNormalization",),
        acronyms=("OWN", "OLM"),
        aliases=("orthogonal linear module",),
        chapter="weights",
        section="6.1, 6.2",
        citations=cite("huang2018orthogonal"),
        golden=("own",),
    ),
    Method(
        number=83,
        name="orthogonalization by Newton's iteration",
        public_names=("layers.NewtonOrthogonalization",),
        acronyms=("ONI",),
        aliases=("orthogonalization by Newton",),
        chapter="weights",
        section="6.1, 9.3",
        citations=cite("huang2020controllable"),
        golden=("oni_conv", "oni_row"),
    ),
    Method(
        number=84,
        name="orthogonal maps",
        public_names=("layers.OrthogonalParametrization",),
        aliases=(
            "Cayley map",
            "matrix exponential map",
            "Householder reflections",
            "trivializations",
        ),
        chapter="weights",
        section="6.1, 6.2",
        citations=cite(
            "lezcano2019cheap",
            "lezcano2019trivializations",
            "helfrich2018orthogonal",
            "mhammedi2017efficient",
        ),
        golden=(
            "orthogonal_cayley",
            "orthogonal_householder",
            "orthogonal_matrix_exp",
        ),
        note="Cayley, matrix exponential, Householder",
    ),
    Method(
        number=85,
        name="cosine normalization",
        public_names=("layers.CosineDense", "layers.CosineConv2D"),
        aliases=("cosine norm", "cosine similarity layer"),
        chapter="weights",
        section="6.3",
        citations=cite("luo2018cosine"),
    ),
    Method(
        number=86,
        name="normalization propagation",
        public_names=(
            "layers.NormalizationPropagation",
            "layers.GaussianPoincareActivation",
            "analysis.propagate_moments",
            "analysis.self_normalizing_map",
        ),
        acronyms=("NormProp", "SELU", "BSNN"),
        aliases=(
            "variance propagation",
            "self-normalizing networks",
            "bidirectional self-normalization",
        ),
        chapter="weights",
        section="6",
        citations=cite(
            "arpit2016normalization",
            "shekhovtsov2018normalization",
            "klambauer2017self",
            "lu2020bidirectional",
        ),
        golden=("selu",),
        note=(
            "variance propagation, self-normalizing map, Gaussian-Poincare "
            "activation"
        ),
    ),
)
