"""Functions on whole models (survey sections 5.3.2, 9.1 and 9.4)."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=98,
        name="population statistics after training",
        public_names=(
            "tools.recompute_statistics",
            "callbacks.PreciseStatistics",
        ),
        aliases=("precise batch normalization", "precise BN"),
        chapter="tools",
        section="5.3.2",
        citations=cite("ioffe2015batch", "wu2021rethinking"),
    ),
    Method(
        number=99,
        name="EvalNorm",
        public_names=("tools.eval_normalize", "tools.example_weighing"),
        aliases=("inference example weighing",),
        chapter="tools",
        section="5.3.2",
        citations=cite("singh2019evalnorm", "summers2020four"),
        note="and inference example weighing",
    ),
    Method(
        number=100,
        name="adaptive batch normalization",
        public_names=(
            "tools.adapt_statistics",
            "tools.prediction_time_statistics",
        ),
        acronyms=("AdaBN",),
        aliases=("prediction-time batch normalization",),
        chapter="tools",
        section="8.3, 9.1",
        citations=cite(
            "li2016revisiting", "nado2020evaluating", "schneider2020improving"
        ),
        note="and prediction-time batch normalization",
    ),
    Method(
        number=101,
        name="batch normalization folding",
        public_names=("tools.fold",),
        aliases=("BN folding", "fold batch norm", "BN fusion"),
        chapter="tools",
        section="9.4",
        citations=cite("jacob2018quantization"),
        golden=("fold_bn",),
    ),
    Method(
        number=102,
        name="network slimming",
        public_names=(
            "tools.prune",
            "tools.mask_channels",
            "tools.add_gamma_penalty",
            "optimizers.ProximalL1",
            "tools.rescale_gamma",
            "tools.evaluate_candidates",
        ),
        aliases=("EagleEye", "channel pruning by gamma"),
        chapter="tools",
        section="9.4",
        citations=cite("liu2017learning", "ye2018rethinking", "li2020eagleeye"),
        note="L1 on gamma, channel pruning; Ye's rescaling; EagleEye",
    ),
    Method(
        number=103,
        name="quantized batch normalization",
        public_names=("tools.quantize_batch_norm",),
        aliases=("fixed-point batch normalization",),
        chapter="tools",
        section="9.4",
        citations=cite("lin2020optimal"),
        note="fixed point",
    ),
    Method(
        number=104,
        name="converting and freezing models",
        public_names=(
            "tools.convert",
            "tools.freeze",
            "tools.report",
            "tools.reparameterize",
        ),
        aliases=("convert batch normalization", "freeze batch normalization"),
        chapter="tools",
        section="beyond the survey",
        note="convert, freeze, report, re-parametrize",
        origin="practice: what users of normalization ask for",
    ),
)
