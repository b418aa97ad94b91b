"""References on several domains."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="chang2019domain",
        authors=(
            "Chang, Woong-Gi and You, Tackgeun and Seo, Seonguk and "
            "Kwak, Suha and Han, Bohyung"
        ),
        title=(
            "Domain-Specific Batch Normalization for Unsupervised Domain "
            "Adaptation"
        ),
        venue="CVPR",
        year=2019,
        arxiv="1906.03950",
    ),
    Citation(
        key="bilen2017universal",
        authors="Bilen, Hakan and Vedaldi, Andrea",
        title=(
            "Universal Representations: The Missing Link between Faces, "
            "Text, Planktons, and Cat Breeds"
        ),
        venue="arXiv",
        year=2017,
        arxiv="1701.07275",
    ),
    Citation(
        key="data2018interpolating",
        authors=(
            "Data, Gratianus Wesley Putra and Ngu, Kirjon and Murray, "
            "David William and Prisacariu, Victor Adrian"
        ),
        title=(
            "Interpolating Convolutional Neural Networks Using Batch "
            "Normalization"
        ),
        venue="ECCV",
        year=2018,
    ),
    Citation(
        key="carlucci2017autodial",
        authors=(
            "Carlucci, Fabio Maria and Porzi, Lorenzo and Caputo, "
            "Barbara and Ricci, Elisa and Rota Bulò, Samuel"
        ),
        title="AutoDIAL: Automatic DomaIn Alignment Layers",
        venue="ICCV",
        year=2017,
        arxiv="1704.08082",
    ),
    Citation(
        key="wang2019transferable",
        authors=(
            "Wang, Ximei and Jin, Ying and Long, Mingsheng and Wang, "
            "Jianmin and Jordan, Michael I."
        ),
        title=(
            "Transferable Normalization: Towards Improving Transferability "
            "of Deep Neural Networks"
        ),
        venue="NeurIPS",
        year=2019,
    ),
    Citation(
        key="seo2020learning",
        authors=(
            "Seo, Seonguk and Suh, Yumin and Kim, Dongwan and Kim, Geeho "
            "and Han, Jongwoo and Han, Bohyung"
        ),
        title=(
            "Learning to Optimize Domain Specific Normalization for Domain "
            "Generalization"
        ),
        venue="ECCV",
        year=2020,
        arxiv="1907.04275",
    ),
    Citation(
        key="li2019efficient",
        authors="Li, Yunsheng and Vasconcelos, Nuno",
        title="Efficient Multi-Domain Learning by Covariance Normalization",
        venue="CVPR",
        year=2019,
    ),
    Citation(
        key="li2016revisiting",
        authors=(
            "Li, Yanghao and Wang, Naiyan and Shi, Jianping and Liu, "
            "Jiaying and Hou, Xiaodi"
        ),
        title="Revisiting Batch Normalization For Practical Domain Adaptation",
        venue="arXiv",
        year=2016,
        arxiv="1603.04779",
    ),
    Citation(
        key="nado2020evaluating",
        authors=(
            "Nado, Zachary and Padhy, Shreyas and Sculley, D. and "
            "D'Amour, Alexander and Lakshminarayanan, Balaji and Snoek, "
            "Jasper"
        ),
        title=(
            "Evaluating Prediction-Time Batch Normalization for Robustness "
            "under Covariate Shift"
        ),
        venue="arXiv",
        year=2020,
        arxiv="2006.10963",
    ),
    Citation(
        key="schneider2020improving",
        authors=(
            "Schneider, Steffen and Rusak, Evgenia and Eck, Luisa and "
            "Bringmann, Oliver and Brendel, Wieland and Bethge, Matthias"
        ),
        title=(
            "Improving Robustness against Common Corruptions by Covariate "
            "Shift Adaptation"
        ),
        venue="NeurIPS",
        year=2020,
        arxiv="2006.16971",
    ),
)
