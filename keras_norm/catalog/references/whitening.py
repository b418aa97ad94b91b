"""References on whitening."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="huang2018decorrelated",
        authors="Huang, Lei and Yang, Dawei and Lang, Bo and Deng, Jia",
        title="Decorrelated Batch Normalization",
        venue="CVPR",
        year=2018,
        arxiv="1804.08450",
    ),
    Citation(
        key="huang2020investigation",
        authors=(
            "Huang, Lei and Zhao, Lei and Zhou, Yi and Zhu, Fan and Liu, "
            "Li and Shao, Ling"
        ),
        title="An Investigation into the Stochasticity of Batch Whitening",
        venue="CVPR",
        year=2020,
        arxiv="2003.12327",
    ),
    Citation(
        key="siarohin2019whitening",
        authors="Siarohin, Aliaksandr and Sangineto, Enver and Sebe, Nicu",
        title="Whitening and Coloring Batch Transform for GANs",
        venue="ICLR",
        year=2019,
        arxiv="1806.00420",
    ),
    Citation(
        key="huang2019iterative",
        authors=(
            "Huang, Lei and Zhou, Yi and Zhu, Fan and Liu, Li and Shao, Ling"
        ),
        title=(
            "Iterative Normalization: Beyond Standardization towards "
            "Efficient Whitening"
        ),
        venue="CVPR",
        year=2019,
        arxiv="1904.03441",
    ),
    Citation(
        key="huang2021group",
        authors=(
            "Huang, Lei and Zhou, Yi and Liu, Li and Zhu, Fan and Shao, Ling"
        ),
        title=(
            "Group Whitening: Balancing Learning Efficiency and "
            "Representational Capacity"
        ),
        venue="CVPR",
        year=2021,
        arxiv="2009.13333",
    ),
    Citation(
        key="ye2020network",
        authors=(
            "Ye, Chengxi and Evanusa, Matthew and He, Hua and Mitrokhin, "
            "Anton and Goldstein, Tom and Yorke, James A. and Fermüller, "
            "Cornelia and Aloimonos, Yiannis"
        ),
        title="Network Deconvolution",
        venue="ICLR",
        year=2020,
        arxiv="1905.11926",
    ),
    Citation(
        key="pan2019switchable",
        authors=(
            "Pan, Xingang and Zhan, Xiaohang and Shi, Jianping and Tang, "
            "Xiaoou and Luo, Ping"
        ),
        title="Switchable Whitening for Deep Representation Learning",
        venue="ICCV",
        year=2019,
        arxiv="1904.09739",
    ),
    Citation(
        key="roy2019unsupervised",
        authors=(
            "Roy, Subhankar and Siarohin, Aliaksandr and Sangineto, "
            "Enver and Rota Bulò, Samuel and Sebe, Nicu and Ricci, Elisa"
        ),
        title=(
            "Unsupervised Domain Adaptation Using Feature-Whitening and "
            "Consensus Loss"
        ),
        venue="CVPR",
        year=2019,
        arxiv="1903.03215",
    ),
    Citation(
        key="li2017universal",
        authors=(
            "Li, Yijun and Fang, Chen and Yang, Jimei and Wang, Zhaowen "
            "and Lu, Xin and Yang, Ming-Hsuan"
        ),
        title="Universal Style Transfer via Feature Transforms",
        venue="NeurIPS",
        year=2017,
        arxiv="1705.08086",
    ),
    Citation(
        key="cho2019image",
        authors=(
            "Cho, Wonwoong and Choi, Sungha and Park, David Keetae and "
            "Shin, Inkyu and Choo, Jaegul"
        ),
        title=(
            "Image-to-Image Translation via Group-wise Deep "
            "Whitening-and-Coloring Transformation"
        ),
        venue="CVPR",
        year=2019,
        arxiv="1812.09912",
    ),
    Citation(
        key="montavon2012deep",
        authors="Montavon, Grégoire and Müller, Klaus-Robert",
        title="Deep Boltzmann Machines and the Centering Trick",
        venue="Tricks of the Trade",
        year=2012,
    ),
    Citation(
        key="wiesler2014mean",
        authors=(
            "Wiesler, Simon and Richard, Alexander and Schlüter, Ralf "
            "and Ney, Hermann"
        ),
        title=(
            "Mean-Normalized Stochastic Gradient for Large-Scale Deep Learning"
        ),
        venue="ICASSP",
        year=2014,
        doi="10.1109/ICASSP.2014.6853582",
    ),
    Citation(
        key="desjardins2015natural",
        authors=(
            "Desjardins, Guillaume and Simonyan, Karen and Pascanu, "
            "Razvan and Kavukcuoglu, Koray"
        ),
        title="Natural Neural Networks",
        venue="NeurIPS",
        year=2015,
        arxiv="1507.00210",
    ),
    Citation(
        key="luo2017learning",
        authors="Luo, Ping",
        title=(
            "Learning Deep Architectures via Generalized Whitened Neural "
            "Networks"
        ),
        venue="ICML",
        year=2017,
    ),
    Citation(
        key="luo2017eigennet",
        authors="Luo, Ping",
        title=(
            "EigenNet: Towards Fast and Structural Learning of Deep Neural "
            "Networks"
        ),
        venue="IJCAI",
        year=2017,
    ),
    Citation(
        key="kessy2018optimal",
        authors="Kessy, Agnan and Lewin, Alex and Strimmer, Korbinian",
        title="Optimal Whitening and Decorrelation",
        venue="The American Statistician",
        year=2018,
        arxiv="1512.00809",
    ),
    Citation(
        key="bini2005algorithms",
        authors="Bini, Dario A. and Higham, Nicholas J. and Meini, Beatrice",
        title="Algorithms for the Matrix pth Root",
        venue="Numerical Algorithms",
        year=2005,
    ),
)
