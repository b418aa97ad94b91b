"""References on operations."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="zhang2019root",
        authors="Zhang, Biao and Sennrich, Rico",
        title="Root Mean Square Layer Normalization",
        venue="NeurIPS",
        year=2019,
        arxiv="1910.07467",
    ),
    Citation(
        key="karras2018progressive",
        authors=(
            "Karras, Tero and Aila, Timo and Laine, Samuli and Lehtinen, Jaakko"
        ),
        title=(
            "Progressive Growing of GANs for Improved Quality, Stability, "
            "and Variation"
        ),
        venue="ICLR",
        year=2018,
        arxiv="1710.10196",
    ),
    Citation(
        key="wang2020correct",
        authors=(
            "Wang, Zhiqiang and She, Qingyun and Zhang, PengTao and "
            "Zhang, Junlin"
        ),
        title=(
            "Correct Normalization Matters: Understanding the Effect of "
            "Normalization On Deep Neural Network Models For Click-Through "
            "Rate Prediction"
        ),
        venue="arXiv",
        year=2020,
        arxiv="2006.12753",
    ),
    Citation(
        key="singh2020filter",
        authors="Singh, Saurabh and Krishnan, Shankar",
        title=(
            "Filter Response Normalization Layer: Eliminating Batch "
            "Dependence in the Training of Deep Neural Networks"
        ),
        venue="CVPR",
        year=2020,
        arxiv="1911.09737",
    ),
    Citation(
        key="wu2019l1",
        authors=(
            "Wu, Shuang and Li, Guoqi and Deng, Lei and Liu, Liu and Wu, "
            "Dong and Xie, Yuan and Shi, Luping"
        ),
        title=(
            "L1-Norm Batch Normalization for Efficient Training of Deep "
            "Neural Networks"
        ),
        venue="TNNLS",
        year=2019,
        arxiv="1802.09769",
    ),
    Citation(
        key="hoffer2018norm",
        authors=(
            "Hoffer, Elad and Banner, Ron and Golan, Itay and Soudry, Daniel"
        ),
        title=(
            "Norm Matters: Efficient and Accurate Normalization Schemes in "
            "Deep Networks"
        ),
        venue="NeurIPS",
        year=2018,
        arxiv="1803.01814",
    ),
    Citation(
        key="liao2016streaming",
        authors="Liao, Qianli and Kawaguchi, Kenji and Poggio, Tomaso",
        title=(
            "Streaming Normalization: Towards Simpler and More "
            "Biologically-plausible Normalizations for Online and "
            "Recurrent Learning"
        ),
        venue="arXiv",
        year=2016,
        arxiv="1610.06160",
    ),
    Citation(
        key="banner2018scalable",
        authors=(
            "Banner, Ron and Hubara, Itay and Hoffer, Elad and Soudry, Daniel"
        ),
        title="Scalable Methods for 8-bit Training of Neural Networks",
        venue="NeurIPS",
        year=2018,
        arxiv="1805.11046",
    ),
    Citation(
        key="yuan2019generalized",
        authors=(
            "Yuan, Xiaoyong and Feng, Zheng and Norton, Matthew and Li, Xiaolin"
        ),
        title=(
            "Generalized Batch Normalization: Towards Accelerating Deep "
            "Neural Networks"
        ),
        venue="AAAI",
        year=2019,
        arxiv="1812.03271",
    ),
    Citation(
        key="liu2015parsenet",
        authors="Liu, Wei and Rabinovich, Andrew and Berg, Alexander C.",
        title="ParseNet: Looking Wider to See Better",
        venue="arXiv",
        year=2015,
        arxiv="1506.04579",
    ),
    Citation(
        key="liu2020evolving",
        authors=(
            "Liu, Hanxiao and Brock, Andrew and Simonyan, Karen and Le, Quoc V."
        ),
        title="Evolving Normalization-Activation Layers",
        venue="NeurIPS",
        year=2020,
        arxiv="2004.02967",
    ),
)
