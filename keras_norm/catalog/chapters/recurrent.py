"""Recurrent networks (survey sections 5 and 9.4)."""

from keras_norm.catalog.entries import Method
from keras_norm.catalog.references import cite

METHODS = (
    Method(
        number=91,
        name="recurrent batch normalization",
        public_names=(
            "layers.BatchNormalizedLSTM",
            "layers.LayerNormalizedLSTM",
            "layers.LayerNormalizedGRU",
            "layers.LayerNormalizedLSTMCell",
            "layers.LayerNormalizedGRUCell",
        ),
        acronyms=("BN-LSTM", "LN-LSTM", "LN-GRU"),
        aliases=(
            "batch-normalized LSTM",
            "layer-normalized LSTM",
            "layer-normalized GRU",
        ),
        chapter="recurrent",
        section="5",
        citations=cite(
            "cooijmans2017recurrent", "laurent2016batch", "ba2016layer"
        ),
        area="batch of a time step; layer",
        operation="standardize",
        statistics="batch, moving average of each time step; each input",
        recovery="affine",
        mask="time steps",
        golden=("bn_lstm",),
        note="and layer-normalized LSTM and GRU",
    ),
    Method(
        number=92,
        name="binarized and ternarized kernels",
        public_names=("layers.QuantizedKernel",),
        aliases=("binarized LSTM", "ternarized LSTM"),
        chapter="recurrent",
        section="9.4",
        citations=cite(
            "ardakani2019learning", "hou2019normalization", "sari2019how"
        ),
        note=(
            "composable with weight, layer and batch normalization in "
            "recurrent cells"
        ),
    ),
)
