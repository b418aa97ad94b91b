"""References on recoveries."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="xu2019understanding",
        authors=(
            "Xu, Jingjing and Sun, Xu and Zhang, Zhiyuan and Zhao, "
            "Guangxiang and Lin, Junyang"
        ),
        title="Understanding and Improving Layer Normalization",
        venue="NeurIPS",
        year=2019,
        arxiv="1911.07013",
    ),
    Citation(
        key="devries2017modulating",
        authors=(
            "de Vries, Harm and Strub, Florian and Mary, Jérémie and "
            "Larochelle, Hugo and Pietquin, Olivier and Courville, Aaron"
        ),
        title="Modulating Early Visual Processing by Language",
        venue="NeurIPS",
        year=2017,
        arxiv="1707.00683",
    ),
    Citation(
        key="dumoulin2017learned",
        authors="Dumoulin, Vincent and Shlens, Jonathon and Kudlur, Manjunath",
        title="A Learned Representation for Artistic Style",
        venue="ICLR",
        year=2017,
        arxiv="1610.07629",
    ),
    Citation(
        key="huang2017arbitrary",
        authors="Huang, Xun and Belongie, Serge",
        title=(
            "Arbitrary Style Transfer in Real-Time with Adaptive Instance "
            "Normalization"
        ),
        venue="ICCV",
        year=2017,
        arxiv="1703.06868",
    ),
    Citation(
        key="huang2018multimodal",
        authors=(
            "Huang, Xun and Liu, Ming-Yu and Belongie, Serge and Kautz, Jan"
        ),
        title="Multimodal Unsupervised Image-to-Image Translation",
        venue="ECCV",
        year=2018,
        arxiv="1804.04732",
    ),
    Citation(
        key="karras2019style",
        authors="Karras, Tero and Laine, Samuli and Aila, Timo",
        title=(
            "A Style-Based Generator Architecture for Generative "
            "Adversarial Networks"
        ),
        venue="CVPR",
        year=2019,
        arxiv="1812.04948",
    ),
    Citation(
        key="kim2017dynamic",
        authors="Kim, Taesup and Song, Inchul and Bengio, Yoshua",
        title=(
            "Dynamic Layer Normalization for Adaptive Neural Acoustic "
            "Modeling in Speech Recognition"
        ),
        venue="Interspeech",
        year=2017,
        arxiv="1707.06065",
    ),
    Citation(
        key="chen2019self",
        authors=(
            "Chen, Ting and Lucic, Mario and Houlsby, Neil and Gelly, Sylvain"
        ),
        title="On Self Modulation for Generative Adversarial Networks",
        venue="ICLR",
        year=2019,
        arxiv="1810.01365",
    ),
    Citation(
        key="jia2019instance",
        authors="Jia, Songhao and Chen, Ding-Jie and Chen, Hwann-Tzong",
        title="Instance-Level Meta Normalization",
        venue="CVPR",
        year=2019,
        arxiv="1904.03516",
    ),
    Citation(
        key="park2019semantic",
        authors=(
            "Park, Taesung and Liu, Ming-Yu and Wang, Ting-Chun and Zhu, "
            "Jun-Yan"
        ),
        title="Semantic Image Synthesis with Spatially-Adaptive Normalization",
        venue="CVPR",
        year=2019,
        arxiv="1903.07291",
    ),
    Citation(
        key="liang2020instance",
        authors=(
            "Liang, Senwei and Huang, Zhongzhan and Liang, Mingfu and "
            "Yang, Haizhao"
        ),
        title=(
            "Instance Enhancement Batch Normalization: An Adaptive "
            "Regulator of Batch Noise"
        ),
        venue="AAAI",
        year=2020,
        arxiv="1908.04008",
    ),
    Citation(
        key="li2020attentive",
        authors="Li, Xilai and Sun, Wei and Wu, Tianfu",
        title="Attentive Normalization",
        venue="ECCV",
        year=2020,
        arxiv="1908.01259",
    ),
    Citation(
        key="jing2020dynamic",
        authors=(
            "Jing, Yongcheng and Liu, Xiao and Ding, Yukang and Wang, "
            "Xinchao and Ding, Errui and Song, Mingli and Wen, Shilei"
        ),
        title="Dynamic Instance Normalization for Arbitrary Style Transfer",
        venue="AAAI",
        year=2020,
        arxiv="1911.06953",
    ),
    Citation(
        key="cho2019unpaired",
        authors=(
            "Cho, Wonwoong and Kim, Kangyeol and Kim, Eungyeup and Kim, "
            "Hyunwoo J. and Choo, Jaegul"
        ),
        title=(
            "Unpaired Image Translation via Adaptive Convolution-based "
            "Normalization"
        ),
        venue="arXiv",
        year=2019,
        arxiv="1911.13271",
    ),
    Citation(
        key="wang2020attentive",
        authors=(
            "Wang, Yi and Chen, Ying-Cong and Zhang, Xiangyu and Sun, "
            "Jian and Jia, Jiaya"
        ),
        title="Attentive Normalization for Conditional Image Generation",
        venue="CVPR",
        year=2020,
        arxiv="2004.03828",
    ),
)
