"""Methods that normalize gradients (survey sections 7 and 8.1)."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=93,
        name="block-wise gradient normalization",
        public_names=(
            "optimizers.GradientTransform",
            "optimizers.block_normalize",
        ),
        acronyms=("NG",),
        aliases=("block-normalized gradient",),
        chapter="optimizers",
        section="7",
        citations=cite("yu2017block"),
    ),
    Method(
        number=94,
        name="layer-wise adaptive rate scaling",
        public_names=("optimizers.LARS", "optimizers.LAMB"),
        acronyms=("LARS", "LAMB"),
        aliases=("layer-wise adaptive rates",),
        chapter="optimizers",
        section="7",
        citations=cite("you2017large", "you2020large"),
        golden=("lars_optax", "lars_timm", "lamb_optax", "lamb_timm"),
        note="LARS; LAMB as published, decay inside the trust ratio",
    ),
    Method(
        number=95,
        name="gradient centralization",
        public_names=("optimizers.centralize",),
        acronyms=("GC",),
        aliases=("centralized gradients",),
        chapter="optimizers",
        section="7",
        citations=cite("yong2020gradient"),
        golden=("gc_adam", "gc_sgd", "gradient_centralization"),
    ),
    Method(
        number=96,
        name="adaptive gradient clipping",
        public_names=("optimizers.adaptive_clip",),
        acronyms=("AGC",),
        aliases=("unit-wise gradient clipping",),
        chapter="optimizers",
        section="beyond the survey",
        citations=cite("brock2021high"),
        golden=("agc_optax", "agc_timm"),
    ),
    Method(
        number=97,
        name="WNGrad",
        public_names=(
            "optimizers.WNGrad",
            "optimizers.equivalent_exponential_schedule",
        ),
        aliases=(
            "exponential learning rate schedule",
            "equivalent schedule of weight decay",
        ),
        chapter="optimizers",
        section="8.1",
        citations=cite("wu2018wngrad", "li2020exponential"),
        note="and the exponential schedule that absorbs weight decay",
    ),
)
