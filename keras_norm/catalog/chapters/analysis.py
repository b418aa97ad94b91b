"""What normalization does to training (survey section 8)."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=105,
        name="scale invariance",
        public_names=("analysis.scale_invariance",),
        aliases=("effective learning rate",),
        chapter="analysis",
        section="8.1",
        citations=cite(
            "arora2019theoretical", "vanlaarhoven2017l2", "hoffer2018norm"
        ),
        note="equations 32 and 33, weight and gradient at right angles",
    ),
    Method(
        number=106,
        name="layer-wise conditioning",
        public_names=("analysis.conditioning", "analysis.signal_propagation"),
        aliases=("conditioning analysis",),
        chapter="analysis",
        section="3, 8.2",
        citations=cite(
            "huang2020layer", "martens2015optimizing", "yang2019mean"
        ),
        note="criteria 1 and 2; signal propagation",
    ),
    Method(
        number=107,
        name="curvature",
        public_names=("analysis.curvature",),
        aliases=("Hessian spectrum", "Fisher spectrum"),
        chapter="analysis",
        section="8.2",
        citations=cite("ghorbani2019investigation", "yao2019pyhessian"),
        note="top eigenvalues, spectral density",
    ),
    Method(
        number=108,
        name="stochastic normalization disturbance",
        public_names=("analysis.stochastic_disturbance",),
        acronyms=("SND",),
        aliases=("batch size study",),
        chapter="analysis",
        section="8.3",
        citations=cite("huang2019iterative", "huang2020investigation"),
        note="with a batch-size study",
    ),
    Method(
        number=109,
        name="Monte-Carlo batch normalization",
        public_names=("analysis.monte_carlo_predict",),
        acronyms=("MCBN",),
        aliases=("Bayesian batch normalization",),
        chapter="analysis",
        section="8.3",
        citations=cite("teye2018bayesian"),
        note="uncertainty",
    ),
    Method(
        number=110,
        name="rank collapse",
        public_names=("analysis.effective_rank",),
        aliases=("stable rank",),
        chapter="analysis",
        section="8.2",
        citations=cite("daneshmand2020batch"),
        note="effective rank",
    ),
)
