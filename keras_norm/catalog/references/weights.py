"""References on weights."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="salimans2016weight",
        authors="Salimans, Tim and Kingma, Diederik P.",
        title=(
            "Weight Normalization: A Simple Reparameterization to "
            "Accelerate Training of Deep Neural Networks"
        ),
        venue="NeurIPS",
        year=2016,
        arxiv="1602.07868",
    ),
    Citation(
        key="huang2017centered",
        authors=(
            "Huang, Lei and Liu, Xianglong and Liu, Yang and Lang, Bo "
            "and Tao, Dacheng"
        ),
        title=(
            "Centered Weight Normalization in Accelerating Training of "
            "Deep Neural Networks"
        ),
        venue="ICCV",
        year=2017,
    ),
    Citation(
        key="brock2021characterizing",
        authors="Brock, Andrew and De, Soham and Smith, Samuel L.",
        title=(
            "Characterizing Signal Propagation to Close the Performance "
            "Gap in Unnormalized ResNets"
        ),
        venue="ICLR",
        year=2021,
        arxiv="2101.08692",
    ),
    Citation(
        key="brock2021high",
        authors=(
            "Brock, Andrew and De, Soham and Smith, Samuel L. and "
            "Simonyan, Karen"
        ),
        title=(
            "High-Performance Large-Scale Image Recognition Without "
            "Normalization"
        ),
        venue="ICML",
        year=2021,
        arxiv="2102.06171",
    ),
    Citation(
        key="miyato2018spectral",
        authors=(
            "Miyato, Takeru and Kataoka, Toshiki and Koyama, Masanori "
            "and Yoshida, Yuichi"
        ),
        title="Spectral Normalization for Generative Adversarial Networks",
        venue="ICLR",
        year=2018,
        arxiv="1802.05957",
    ),
    Citation(
        key="sedghi2019singular",
        authors="Sedghi, Hanie and Gupta, Vineet and Long, Philip M.",
        title="The Singular Values of Convolutional Layers",
        venue="ICLR",
        year=2019,
        arxiv="1805.10408",
    ),
    Citation(
        key="farnia2019generalizable",
        authors="Farnia, Farzan and Zhang, Jesse and Tse, David",
        title="Generalizable Adversarial Training via Spectral Normalization",
        venue="ICLR",
        year=2019,
        arxiv="1811.07457",
    ),
    Citation(
        key="huang2018orthogonal",
        authors=(
            "Huang, Lei and Liu, Xianglong and Lang, Bo and Yu, Adams "
            "Wei and Wang, Yongliang and Li, Bo"
        ),
        title=(
            "Orthogonal Weight Normalization: Solution to Optimization "
            "over Multiple Dependent Stiefel Manifolds in Deep Neural "
            "Networks"
        ),
        venue="AAAI",
        year=2018,
        arxiv="1709.06079",
    ),
    Citation(
        key="huang2020controllable",
        authors=(
            "Huang, Lei and Liu, Li and Zhu, Fan and Wan, Diwen and "
            "Yuan, Zehuan and Li, Bo and Shao, Ling"
        ),
        title="Controllable Orthogonalization in Training DNNs",
        venue="CVPR",
        year=2020,
        arxiv="2004.00917",
    ),
    Citation(
        key="lezcano2019cheap",
        authors="Lezcano-Casado, Mario and Martínez-Rubio, David",
        title=(
            "Cheap Orthogonal Constraints in Neural Networks: A Simple "
            "Parametrization of the Orthogonal and Unitary Group"
        ),
        venue="ICML",
        year=2019,
        arxiv="1901.08428",
    ),
    Citation(
        key="lezcano2019trivializations",
        authors="Lezcano-Casado, Mario",
        title="Trivializations for Gradient-Based Optimization on Manifolds",
        venue="NeurIPS",
        year=2019,
        arxiv="1909.09501",
    ),
    Citation(
        key="helfrich2018orthogonal",
        authors="Helfrich, Kyle and Willmott, Devin and Ye, Qiang",
        title=(
            "Orthogonal Recurrent Neural Networks with Scaled Cayley Transform"
        ),
        venue="ICML",
        year=2018,
        arxiv="1707.09520",
    ),
    Citation(
        key="mhammedi2017efficient",
        authors=(
            "Mhammedi, Zakaria and Hellicar, Andrew and Rahman, Ashfaqur "
            "and Bailey, James"
        ),
        title=(
            "Efficient Orthogonal Parametrisation of Recurrent Neural "
            "Networks Using Householder Reflections"
        ),
        venue="ICML",
        year=2017,
        arxiv="1612.00188",
    ),
    Citation(
        key="luo2018cosine",
        authors=(
            "Luo, Chunjie and Zhan, Jianfeng and Xue, Xiaohe and Wang, "
            "Lei and Ren, Rui and Yang, Qiang"
        ),
        title=(
            "Cosine Normalization: Using Cosine Similarity Instead of Dot "
            "Product in Neural Networks"
        ),
        venue="ICANN",
        year=2018,
        arxiv="1702.05870",
    ),
    Citation(
        key="arpit2016normalization",
        authors=(
            "Arpit, Devansh and Zhou, Yingbo and Kota, Bhargava U. and "
            "Govindaraju, Venu"
        ),
        title=(
            "Normalization Propagation: A Parametric Technique for "
            "Removing Internal Covariate Shift in Deep Networks"
        ),
        venue="ICML",
        year=2016,
        arxiv="1603.01431",
    ),
    Citation(
        key="shekhovtsov2018normalization",
        authors="Shekhovtsov, Alexander and Flach, Boris",
        title=(
            "Normalization of Neural Networks using Analytic Variance "
            "Propagation"
        ),
        venue="CVWW",
        year=2018,
        arxiv="1803.10560",
    ),
    Citation(
        key="klambauer2017self",
        authors=(
            "Klambauer, Günter and Unterthiner, Thomas and Mayr, Andreas "
            "and Hochreiter, Sepp"
        ),
        title="Self-Normalizing Neural Networks",
        venue="NeurIPS",
        year=2017,
        arxiv="1706.02515",
    ),
    Citation(
        key="lu2020bidirectional",
        authors="Lu, Yao and Gould, Stephen and Ajanthan, Thalaiyasingam",
        title="Bidirectional Self-Normalizing Neural Networks",
        venue="arXiv",
        year=2020,
        arxiv="2006.12169",
    ),
)
