"""References on mixtures of normalizers."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="luo2019differentiable",
        authors=(
            "Luo, Ping and Ren, Jiamin and Peng, Zhanglin and Zhang, "
            "Ruimao and Li, Jingyu"
        ),
        title=(
            "Differentiable Learning-to-Normalize via Switchable Normalization"
        ),
        venue="ICLR",
        year=2019,
        arxiv="1806.10779",
    ),
    Citation(
        key="shao2019ssn",
        authors=(
            "Shao, Wenqi and Meng, Tianjian and Li, Jingyu and Zhang, "
            "Ruimao and Li, Yudian and Wang, Xiaogang and Luo, Ping"
        ),
        title="SSN: Learning Sparse Switchable Normalization via SparsestMax",
        venue="CVPR",
        year=2019,
        arxiv="1903.03793",
    ),
    Citation(
        key="zhang2020exemplar",
        authors=(
            "Zhang, Ruimao and Peng, Zhanglin and Wu, Lingyun and Li, "
            "Zhen and Luo, Ping"
        ),
        title="Exemplar Normalization for Learning Deep Representation",
        venue="CVPR",
        year=2020,
        arxiv="2003.08761",
    ),
    Citation(
        key="luo2019dynamic",
        authors=(
            "Luo, Ping and Peng, Zhanglin and Shao, Wenqi and Zhang, "
            "Ruimao and Ren, Jiamin and Wu, Lingyun"
        ),
        title=(
            "Differentiable Dynamic Normalization for Learning Deep "
            "Representation"
        ),
        venue="ICML",
        year=2019,
    ),
    Citation(
        key="nam2018batch",
        authors="Nam, Hyeonseob and Kim, Hyo-Eun",
        title=(
            "Batch-Instance Normalization for Adaptively Style-Invariant "
            "Neural Networks"
        ),
        venue="NeurIPS",
        year=2018,
        arxiv="1805.07925",
    ),
    Citation(
        key="kim2020ugatit",
        authors=(
            "Kim, Junho and Kim, Minjae and Kang, Hyeonwoo and Lee, Kwanghee"
        ),
        title=(
            "U-GAT-IT: Unsupervised Generative Attentional Networks with "
            "Adaptive Layer-Instance Normalization for Image-to-Image "
            "Translation"
        ),
        venue="ICLR",
        year=2020,
        arxiv="1907.10830",
    ),
    Citation(
        key="bronskill2020tasknorm",
        authors=(
            "Bronskill, John and Gordon, Jonathan and Requeima, James "
            "and Nowozin, Sebastian and Turner, Richard E."
        ),
        title="TaskNorm: Rethinking Batch Normalization for Meta-Learning",
        venue="ICML",
        year=2020,
        arxiv="2003.03284",
    ),
    Citation(
        key="pan2018two",
        authors=(
            "Pan, Xingang and Luo, Ping and Shi, Jianping and Tang, Xiaoou"
        ),
        title=(
            "Two at Once: Enhancing Learning and Generalization Capacities "
            "via IBN-Net"
        ),
        venue="ECCV",
        year=2018,
        arxiv="1807.09441",
    ),
    Citation(
        key="qiao2019rethinking",
        authors=(
            "Qiao, Siyuan and Wang, Huiyu and Liu, Chenxi and Shen, Wei "
            "and Yuille, Alan"
        ),
        title=(
            "Rethinking Normalization and Elimination Singularity in "
            "Neural Networks"
        ),
        venue="arXiv",
        year=2019,
        arxiv="1911.09738",
    ),
    Citation(
        key="qiao2019micro",
        authors=(
            "Qiao, Siyuan and Wang, Huiyu and Liu, Chenxi and Shen, Wei "
            "and Yuille, Alan"
        ),
        title=(
            "Micro-Batch Training with Batch-Channel Normalization and "
            "Weight Standardization"
        ),
        venue="arXiv",
        year=2019,
        arxiv="1903.10520",
    ),
    Citation(
        key="deecke2019mode",
        authors="Deecke, Lucas and Murray, Iain and Bilen, Hakan",
        title="Mode Normalization",
        venue="ICLR",
        year=2019,
        arxiv="1810.05466",
    ),
    Citation(
        key="kalayeh2020training",
        authors="Kalayeh, Mahdi M. and Shah, Mubarak",
        title=(
            "Training Faster by Separating Modes of Variation in "
            "Batch-Normalized Models"
        ),
        venue="TPAMI",
        year=2020,
        arxiv="1806.02892",
    ),
)
