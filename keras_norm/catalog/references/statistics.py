"""References on robust batch statistics."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="ioffe2017batch",
        authors="Ioffe, Sergey",
        title=(
            "Batch Renormalization: Towards Reducing Minibatch Dependence "
            "in Batch-Normalized Models"
        ),
        venue="NeurIPS",
        year=2017,
        arxiv="1702.03275",
    ),
    Citation(
        key="dinh2017density",
        authors="Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy",
        title="Density Estimation Using Real NVP",
        venue="ICLR",
        year=2017,
        arxiv="1605.08803",
    ),
    Citation(
        key="ma2017diminishing",
        authors="Ma, Yintai and Klabjan, Diego",
        title="Diminishing Batch Normalization",
        venue="arXiv",
        year=2017,
        arxiv="1705.08011",
    ),
    Citation(
        key="lian2019revisit",
        authors="Lian, Xiangru and Liu, Ji",
        title=(
            "Revisit Batch Normalization: New Understanding and Refinement "
            "via Composition Optimization"
        ),
        venue="AISTATS",
        year=2019,
        arxiv="1810.06177",
    ),
    Citation(
        key="chiley2019online",
        authors=(
            "Chiley, Vitaliy and Sharapov, Ilya and Kosson, Atli and "
            "Koster, Urs and Reece, Ryan and Samaniego de la Fuente, "
            "Sofia and Subbiah, Vishal and James, Michael"
        ),
        title="Online Normalization for Training Neural Networks",
        venue="NeurIPS",
        year=2019,
        arxiv="1905.05894",
    ),
    Citation(
        key="shen2020powernorm",
        authors=(
            "Shen, Sheng and Yao, Zhewei and Gholami, Amir and Mahoney, "
            "Michael W. and Keutzer, Kurt"
        ),
        title="PowerNorm: Rethinking Batch Normalization in Transformers",
        venue="ICML",
        year=2020,
        arxiv="2003.07845",
    ),
    Citation(
        key="yan2020towards",
        authors=(
            "Yan, Junjie and Wan, Ruosi and Zhang, Xiangyu and Zhang, "
            "Wei and Wei, Yichen and Sun, Jian"
        ),
        title=(
            "Towards Stabilizing Batch Statistics in Backward Propagation "
            "of Batch Normalization"
        ),
        venue="ICLR",
        year=2020,
        arxiv="2001.06838",
    ),
    Citation(
        key="yong2020momentum",
        authors=(
            "Yong, Hongwei and Huang, Jianqiang and Meng, Deyu and Hua, "
            "Xiansheng and Zhang, Lei"
        ),
        title=(
            "Momentum Batch Normalization for Deep Learning with Small "
            "Batch Size"
        ),
        venue="ECCV",
        year=2020,
        doi="10.1007/978-3-030-58610-2_14",
    ),
    Citation(
        key="guo2018double",
        authors=(
            "Guo, Yong and Wu, Qingyao and Deng, Chaorui and Chen, Jian "
            "and Tan, Mingkui"
        ),
        title="Double Forward Propagation for Memorized Batch Normalization",
        venue="AAAI",
        year=2018,
        arxiv="2010.04947",
    ),
    Citation(
        key="yao2021cross",
        authors=(
            "Yao, Zhuliang and Cao, Yue and Zheng, Shuxin and Huang, Gao "
            "and Lin, Stephen"
        ),
        title="Cross-Iteration Batch Normalization",
        venue="CVPR",
        year=2021,
        arxiv="2002.05712",
    ),
    Citation(
        key="wang2018kalman",
        authors=(
            "Wang, Guangrun and Peng, Jiefeng and Luo, Ping and Wang, "
            "Xinjiang and Lin, Liang"
        ),
        title=(
            "Kalman Normalization: Normalizing Internal Representations "
            "Across Network Layers"
        ),
        venue="NeurIPS",
        year=2018,
        arxiv="1802.03133",
    ),
    Citation(
        key="peng2018megdet",
        authors=(
            "Peng, Chao and Xiao, Tete and Li, Zeming and Jiang, Yuning "
            "and Zhang, Xiangyu and Jia, Kai and Yu, Gang and Sun, Jian"
        ),
        title="MegDet: A Large Mini-Batch Object Detector",
        venue="CVPR",
        year=2018,
        arxiv="1711.07240",
    ),
    Citation(
        key="atanov2018uncertainty",
        authors=(
            "Atanov, Andrei and Ashukha, Arsenii and Molchanov, Dmitry "
            "and Neklyudov, Kirill and Vetrov, Dmitry"
        ),
        title="Uncertainty Estimation via Stochastic Batch Normalization",
        venue="arXiv",
        year=2018,
        arxiv="1802.04893",
    ),
    Citation(
        key="yu2019slimmable",
        authors=(
            "Yu, Jiahui and Yang, Linjie and Xu, Ning and Yang, Jianchao "
            "and Huang, Thomas"
        ),
        title="Slimmable Neural Networks",
        venue="ICLR",
        year=2019,
        arxiv="1812.08928",
    ),
    Citation(
        key="luo2020finet",
        authors=(
            "Luo, Chunjie and Zhan, Jianfeng and Wang, Lei and Gao, Wanling"
        ),
        title=(
            "Finet: Using Fine-grained Batch Normalization to Train "
            "Light-weight Neural Networks"
        ),
        venue="arXiv",
        year=2020,
        arxiv="2005.06828",
    ),
)
