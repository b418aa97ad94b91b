"""References on constraints, penalties, recurrent networks and optimizers."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="huang2017projection",
        authors="Huang, Lei and Liu, Xianglong and Lang, Bo and Li, Bo",
        title="Projection Based Weight Normalization for Deep Neural Networks",
        venue="arXiv",
        year=2017,
        arxiv="1710.02338",
    ),
    Citation(
        key="bansal2018can",
        authors="Bansal, Nitin and Chen, Xiaohan and Wang, Zhangyang",
        title=(
            "Can We Gain More from Orthogonality Regularizations in "
            "Training Deep Networks?"
        ),
        venue="NeurIPS",
        year=2018,
        arxiv="1810.09102",
    ),
    Citation(
        key="brock2019large",
        authors="Brock, Andrew and Donahue, Jeff and Simonyan, Karen",
        title=(
            "Large Scale GAN Training for High Fidelity Natural Image Synthesis"
        ),
        venue="ICLR",
        year=2019,
        arxiv="1809.11096",
    ),
    Citation(
        key="cogswell2016reducing",
        authors=(
            "Cogswell, Michael and Ahmed, Faruk and Girshick, Ross and "
            "Zitnick, Larry and Batra, Dhruv"
        ),
        title=(
            "Reducing Overfitting in Deep Networks by Decorrelating "
            "Representations"
        ),
        venue="ICLR",
        year=2016,
        arxiv="1511.06068",
    ),
    Citation(
        key="li2020efficient",
        authors="Li, Jun and Li, Fuxin and Todorovic, Sinisa",
        title=(
            "Efficient Riemannian Optimization on the Stiefel Manifold via "
            "the Cayley Transform"
        ),
        venue="ICLR",
        year=2020,
        arxiv="2002.01113",
    ),
    Citation(
        key="cho2017riemannian",
        authors="Cho, Minhyung and Lee, Jaehyung",
        title="Riemannian Approach to Batch Normalization",
        venue="NeurIPS",
        year=2017,
        arxiv="1709.09603",
    ),
    Citation(
        key="cooijmans2017recurrent",
        authors=(
            "Cooijmans, Tim and Ballas, Nicolas and Laurent, César and "
            "Gülçehre, Çağlar and Courville, Aaron"
        ),
        title="Recurrent Batch Normalization",
        venue="ICLR",
        year=2017,
        arxiv="1603.09025",
    ),
    Citation(
        key="laurent2016batch",
        authors=(
            "Laurent, César and Pereyra, Gabriel and Brakel, Philémon "
            "and Zhang, Ying and Bengio, Yoshua"
        ),
        title="Batch Normalized Recurrent Neural Networks",
        venue="ICASSP",
        year=2016,
        arxiv="1510.01378",
    ),
    Citation(
        key="ardakani2019learning",
        authors=(
            "Ardakani, Arash and Ji, Zhengyun and Smithson, Sean C. and "
            "Meyer, Brett H. and Gross, Warren J."
        ),
        title="Learning Recurrent Binary/Ternary Weights",
        venue="ICLR",
        year=2019,
        arxiv="1809.11086",
    ),
    Citation(
        key="hou2019normalization",
        authors=(
            "Hou, Lu and Zhu, Jinhua and Kwok, James T. and Gao, Fei and "
            "Qin, Tao and Liu, Tie-Yan"
        ),
        title="Normalization Helps Training of Quantized LSTM",
        venue="NeurIPS",
        year=2019,
    ),
    Citation(
        key="sari2019how",
        authors="Sari, Eyyüb and Belbahri, Mouloud and Partovi Nia, Vahid",
        title="How Does Batch Normalization Help Binary Training?",
        venue="arXiv",
        year=2019,
        arxiv="1909.09139",
    ),
    Citation(
        key="yu2017block",
        authors=(
            "Yu, Adams Wei and Huang, Lei and Lin, Qihang and "
            "Salakhutdinov, Ruslan and Carbonell, Jaime"
        ),
        title=(
            "Block-Normalized Gradient Method: An Empirical Study for "
            "Training Deep Neural Network"
        ),
        venue="arXiv",
        year=2017,
        arxiv="1707.04822",
    ),
    Citation(
        key="you2017large",
        authors="You, Yang and Gitman, Igor and Ginsburg, Boris",
        title="Large Batch Training of Convolutional Networks",
        venue="arXiv",
        year=2017,
        arxiv="1708.03888",
    ),
    Citation(
        key="you2020large",
        authors=(
            "You, Yang and Li, Jing and Reddi, Sashank and Hseu, "
            "Jonathan and Kumar, Sanjiv and Bhojanapalli, Srinadh and "
            "Song, Xiaodan and Demmel, James and Keutzer, Kurt and "
            "Hsieh, Cho-Jui"
        ),
        title=(
            "Large Batch Optimization for Deep Learning: Training BERT in "
            "76 minutes"
        ),
        venue="ICLR",
        year=2020,
        arxiv="1904.00962",
    ),
    Citation(
        key="yong2020gradient",
        authors=(
            "Yong, Hongwei and Huang, Jianqiang and Hua, Xiansheng and "
            "Zhang, Lei"
        ),
        title=(
            "Gradient Centralization: A New Optimization Technique for "
            "Deep Neural Networks"
        ),
        venue="ECCV",
        year=2020,
        arxiv="2004.01461",
    ),
    Citation(
        key="wu2018wngrad",
        authors="Wu, Xiaoxia and Ward, Rachel and Bottou, Léon",
        title="WNGrad: Learn the Learning Rate in Gradient Descent",
        venue="arXiv",
        year=2018,
        arxiv="1803.02865",
    ),
    Citation(
        key="li2020exponential",
        authors="Li, Zhiyuan and Arora, Sanjeev",
        title="An Exponential Learning Rate Schedule for Deep Learning",
        venue="ICLR",
        year=2020,
        arxiv="1910.07454",
    ),
)
