"""References on whole models and on the analysis of training."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="wu2021rethinking",
        authors="Wu, Yuxin and Johnson, Justin",
        title='Rethinking "Batch" in BatchNorm',
        venue="arXiv",
        year=2021,
        arxiv="2105.07576",
    ),
    Citation(
        key="singh2019evalnorm",
        authors="Singh, Saurabh and Shrivastava, Abhinav",
        title=(
            "EvalNorm: Estimating Batch Normalization Statistics for Evaluation"
        ),
        venue="ICCV",
        year=2019,
        arxiv="1904.06031",
    ),
    Citation(
        key="jacob2018quantization",
        authors=(
            "Jacob, Benoit and Kligys, Skirmantas and Chen, Bo and Zhu, "
            "Menglong and Tang, Matthew and Howard, Andrew and Adam, "
            "Hartwig and Kalenichenko, Dmitry"
        ),
        title=(
            "Quantization and Training of Neural Networks for Efficient "
            "Integer-Arithmetic-Only Inference"
        ),
        venue="CVPR",
        year=2018,
        arxiv="1712.05877",
    ),
    Citation(
        key="liu2017learning",
        authors=(
            "Liu, Zhuang and Li, Jianguo and Shen, Zhiqiang and Huang, "
            "Gao and Yan, Shoumeng and Zhang, Changshui"
        ),
        title=(
            "Learning Efficient Convolutional Networks through Network Slimming"
        ),
        venue="ICCV",
        year=2017,
        arxiv="1708.06519",
    ),
    Citation(
        key="ye2018rethinking",
        authors="Ye, Jianbo and Lu, Xin and Lin, Zhe and Wang, James Z.",
        title=(
            "Rethinking the Smaller-Norm-Less-Informative Assumption in "
            "Channel Pruning of Convolution Layers"
        ),
        venue="ICLR",
        year=2018,
        arxiv="1802.00124",
    ),
    Citation(
        key="li2020eagleeye",
        authors=(
            "Li, Bailin and Wu, Bowen and Su, Jiang and Wang, Guangrun "
            "and Lin, Liang"
        ),
        title=(
            "EagleEye: Fast Sub-net Evaluation for Efficient Neural "
            "Network Pruning"
        ),
        venue="ECCV",
        year=2020,
        arxiv="2007.02491",
    ),
    Citation(
        key="lin2020optimal",
        authors=(
            "Lin, Dachao and Sun, Peiqin and Xie, Guangzeng and Zhou, "
            "Shuchang and Zhang, Zhihua"
        ),
        title=(
            "Optimal Quantization for Batch Normalization in Neural "
            "Network Deployments and Beyond"
        ),
        venue="arXiv",
        year=2020,
        arxiv="2008.13128",
    ),
    Citation(
        key="arora2019theoretical",
        authors="Arora, Sanjeev and Li, Zhiyuan and Lyu, Kaifeng",
        title=(
            "Theoretical Analysis of Auto Rate-Tuning by Batch Normalization"
        ),
        venue="ICLR",
        year=2019,
        arxiv="1812.03981",
    ),
    Citation(
        key="vanlaarhoven2017l2",
        authors="van Laarhoven, Twan",
        title="L2 Regularization versus Batch and Weight Normalization",
        venue="arXiv",
        year=2017,
        arxiv="1706.05350",
    ),
    Citation(
        key="huang2020layer",
        authors=(
            "Huang, Lei and Qin, Jie and Liu, Li and Zhu, Fan and Shao, Ling"
        ),
        title=(
            "Layer-wise Conditioning Analysis in Exploring the Learning "
            "Dynamics of DNNs"
        ),
        venue="ECCV",
        year=2020,
        arxiv="2002.10801",
    ),
    Citation(
        key="martens2015optimizing",
        authors="Martens, James and Grosse, Roger",
        title=(
            "Optimizing Neural Networks with Kronecker-factored "
            "Approximate Curvature"
        ),
        venue="ICML",
        year=2015,
        arxiv="1503.05671",
    ),
    Citation(
        key="yang2019mean",
        authors=(
            "Yang, Greg and Pennington, Jeffrey and Rao, Vinay and "
            "Sohl-Dickstein, Jascha and Schoenholz, Samuel S."
        ),
        title="A Mean Field Theory of Batch Normalization",
        venue="ICLR",
        year=2019,
        arxiv="1902.08129",
    ),
    Citation(
        key="ghorbani2019investigation",
        authors="Ghorbani, Behrooz and Krishnan, Shankar and Xiao, Ying",
        title=(
            "An Investigation into Neural Net Optimization via Hessian "
            "Eigenvalue Density"
        ),
        venue="ICML",
        year=2019,
        arxiv="1901.10159",
    ),
    Citation(
        key="yao2019pyhessian",
        authors=(
            "Yao, Zhewei and Gholami, Amir and Keutzer, Kurt and "
            "Mahoney, Michael W."
        ),
        title="PyHessian: Neural Networks Through the Lens of the Hessian",
        venue="arXiv",
        year=2019,
        arxiv="1912.07145",
    ),
    Citation(
        key="teye2018bayesian",
        authors="Teye, Mattias and Azizpour, Hossein and Smith, Kevin",
        title=(
            "Bayesian Uncertainty Estimation for Batch Normalized Deep Networks"
        ),
        venue="ICML",
        year=2018,
        arxiv="1802.06455",
    ),
    Citation(
        key="daneshmand2020batch",
        authors=(
            "Daneshmand, Hadi and Kohler, Jonas and Bach, Francis and "
            "Hofmann, Thomas and Lucchi, Aurelien"
        ),
        title=(
            "Batch Normalization Provably Avoids Ranks Collapse for "
            "Randomly Initialised Deep Networks"
        ),
        venue="NeurIPS",
        year=2020,
        arxiv="2003.01652",
    ),
    Citation(
        key="huang2023normalization",
        authors=(
            "Huang, Lei and Qin, Jie and Zhou, Yi and Zhu, Fan and Liu, "
            "Li and Shao, Ling"
        ),
        title=(
            "Normalization Techniques in Training DNNs: Methodology, "
            "Analysis and Application"
        ),
        venue="TPAMI",
        year=2023,
        arxiv="2009.12836",
    ),
)
