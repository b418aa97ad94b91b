"""References on areas."""

from keras_norm.catalog.entries import Citation

CITATIONS = (
    Citation(
        key="ioffe2015batch",
        authors="Ioffe, Sergey and Szegedy, Christian",
        title=(
            "Batch Normalization: Accelerating Deep Network Training by "
            "Reducing Internal Covariate Shift"
        ),
        venue="ICML",
        year=2015,
        arxiv="1502.03167",
    ),
    Citation(
        key="ba2016layer",
        authors="Ba, Jimmy Lei and Kiros, Jamie Ryan and Hinton, Geoffrey E.",
        title="Layer Normalization",
        venue="arXiv",
        year=2016,
        arxiv="1607.06450",
    ),
    Citation(
        key="ulyanov2016instance",
        authors="Ulyanov, Dmitry and Vedaldi, Andrea and Lempitsky, Victor",
        title=(
            "Instance Normalization: The Missing Ingredient for Fast "
            "Stylization"
        ),
        venue="arXiv",
        year=2016,
        arxiv="1607.08022",
    ),
    Citation(
        key="wu2018group",
        authors="Wu, Yuxin and He, Kaiming",
        title="Group Normalization",
        venue="ECCV",
        year=2018,
        arxiv="1803.08494",
    ),
    Citation(
        key="li2019positional",
        authors=(
            "Li, Boyi and Wu, Felix and Weinberger, Kilian Q. and "
            "Belongie, Serge"
        ),
        title="Positional Normalization",
        venue="NeurIPS",
        year=2019,
        arxiv="1907.04312",
    ),
    Citation(
        key="summers2020four",
        authors="Summers, Cecilia and Dinneen, Michael J.",
        title=(
            "Four Things Everyone Should Know to Improve Batch Normalization"
        ),
        venue="ICLR",
        year=2020,
        arxiv="1906.03548",
    ),
    Citation(
        key="zhou2020batch",
        authors=(
            "Zhou, Xiao-Yun and Sun, Jiacheng and Ye, Nanyang and Lan, "
            "Xu and Luo, Qijun and Lai, Bo-Lin and Esperanca, Pedro and "
            "Yang, Guang-Zhong and Li, Zhenguo"
        ),
        title="Batch Group Normalization",
        venue="arXiv",
        year=2020,
        arxiv="2012.02782",
    ),
    Citation(
        key="hoffer2017train",
        authors="Hoffer, Elad and Hubara, Itay and Soudry, Daniel",
        title=(
            "Train Longer, Generalize Better: Closing the Generalization "
            "Gap in Large Batch Training of Neural Networks"
        ),
        venue="NeurIPS",
        year=2017,
        arxiv="1705.08741",
    ),
    Citation(
        key="jarrett2009what",
        authors=(
            "Jarrett, Kevin and Kavukcuoglu, Koray and Ranzato, "
            "Marc'Aurelio and LeCun, Yann"
        ),
        title=(
            "What Is the Best Multi-Stage Architecture for Object Recognition?"
        ),
        venue="ICCV",
        year=2009,
        doi="10.1109/ICCV.2009.5459469",
    ),
    Citation(
        key="krizhevsky2012imagenet",
        authors="Krizhevsky, Alex and Sutskever, Ilya and Hinton, Geoffrey E.",
        title=(
            "ImageNet Classification with Deep Convolutional Neural Networks"
        ),
        venue="NeurIPS",
        year=2012,
    ),
    Citation(
        key="ren2017normalizing",
        authors=(
            "Ren, Mengye and Liao, Renjie and Urtasun, Raquel and Sinz, "
            "Fabian H. and Zemel, Richard S."
        ),
        title=(
            "Normalizing the Normalizers: Comparing and Extending Network "
            "Normalization Schemes"
        ),
        venue="ICLR",
        year=2017,
        arxiv="1611.04520",
    ),
    Citation(
        key="heeger1992normalization",
        authors="Heeger, David J.",
        title="Normalization of Cell Responses in Cat Striate Cortex",
        venue="Visual Neuroscience",
        year=1992,
    ),
    Citation(
        key="carandini2012normalization",
        authors="Carandini, Matteo and Heeger, David J.",
        title="Normalization as a Canonical Neural Computation",
        venue="Nature Reviews Neuroscience",
        year=2012,
        doi="10.1038/nrn3136",
    ),
    Citation(
        key="balle2016density",
        authors="Ballé, Johannes and Laparra, Valero and Simoncelli, Eero P.",
        title=(
            "Density Modeling of Images Using a Generalized Normalization "
            "Transformation"
        ),
        venue="ICLR",
        year=2016,
        arxiv="1511.06281",
    ),
    Citation(
        key="johnston2019computationally",
        authors=(
            "Johnston, Nick and Eban, Elad and Gordon, Ariel and Ballé, "
            "Johannes"
        ),
        title="Computationally Efficient Neural Image Compression",
        venue="arXiv",
        year=2019,
        arxiv="1912.08771",
    ),
    Citation(
        key="ortiz2020local",
        authors=(
            "Ortiz, Anthony and Robinson, Caleb and Morris, Dan and "
            "Fuentes, Olac and Kiekintveld, Christopher and Hassan, Md "
            "Mahmudulla and Jojic, Nebojsa"
        ),
        title="Local Context Normalization: Revisiting Local Normalization",
        venue="CVPR",
        year=2020,
        arxiv="1912.05845",
    ),
    Citation(
        key="yu2020region",
        authors=(
            "Yu, Tao and Guo, Zongyu and Jin, Xin and Wu, Shilin and "
            "Chen, Zhibo and Li, Weiping and Zhang, Zhizheng and Liu, "
            "Sen"
        ),
        title="Region Normalization for Image Inpainting",
        venue="AAAI",
        year=2020,
        arxiv="1911.10375",
    ),
)
