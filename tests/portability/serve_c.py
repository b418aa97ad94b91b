"""Answers from a SavedModel through the C API of TensorFlow, no Python of it.

Run as `serve_c.py FOLDER`: FOLDER/model is the SavedModel, signature.json the
names of its tensors, inputs_BATCH.npz what it is asked, c_BATCH.npz what it
answers. The loader is the one that TensorFlow Serving uses.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

# TF_DataType of the inputs and outputs.
DTYPES = {"float32": 1, "int32": 3}
NUMPY = {number: name for name, number in DTYPES.items()}


class Output(ctypes.Structure):
    """TF_Output: a tensor of a graph."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def library():
    """libtensorflow from the wheel, found without importing TensorFlow."""
    folder = importlib.util.find_spec("tensorflow").submodule_search_locations
    tf = ctypes.CDLL(str(Path(folder[0]) / "libtensorflow_cc.so.2"))
    for name in (
        "TF_NewStatus",
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_LoadSessionFromSavedModel",
        "TF_GraphOperationByName",
        "TF_AllocateTensor",
        "TF_TensorData",
    ):
        getattr(tf, name).restype = ctypes.c_void_p
    tf.TF_Message.restype = ctypes.c_char_p
    tf.TF_Dim.restype = ctypes.c_int64
    return tf


class Model:
    """A SavedModel in a session."""

    def __init__(self, folder, signature):
        self.tf, self.signature = library(), signature
        self.status = ctypes.c_void_p(self.tf.TF_NewStatus())
        self.graph = ctypes.c_void_p(self.tf.TF_NewGraph())
        options = ctypes.c_void_p(self.tf.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        session = self.tf.TF_LoadSessionFromSavedModel(
            options, None, str(folder).encode(), tags, 1, self.graph, None,
            self.status,
        )  # fmt: skip
        self.check()
        self.session = ctypes.c_void_p(session)

    def check(self):
        """Raise what the last call complained about."""
        if self.tf.TF_GetCode(self.status) != 0:
            raise RuntimeError(self.tf.TF_Message(self.status).decode())

    def tensors(self, names):
        """The named tensors of the graph."""
        found = (Output * len(names))()
        for i, name in enumerate(names):
            operation, index = name.split(":")
            found[i].operation = self.tf.TF_GraphOperationByName(
                self.graph, operation.encode()
            )
            assert found[i].operation, name
            found[i].index = int(index)
        return found

    def filled(self, array):
        """A TF_Tensor with the values of an array."""
        array = np.ascontiguousarray(array)
        sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self.tf.TF_AllocateTensor(
            DTYPES[str(array.dtype)], sizes, array.ndim,
            ctypes.c_size_t(array.nbytes),
        )  # fmt: skip
        data = self.tf.TF_TensorData(ctypes.c_void_p(tensor))
        ctypes.memmove(data, array.ctypes.data, array.nbytes)
        return tensor

    def read(self, tensor):
        """The values of a TF_Tensor."""
        tensor = ctypes.c_void_p(tensor)
        rank = self.tf.TF_NumDims(tensor)
        shape = [self.tf.TF_Dim(tensor, i) for i in range(rank)]
        array = np.empty(shape, NUMPY[self.tf.TF_TensorType(tensor)])
        data = self.tf.TF_TensorData(tensor)
        ctypes.memmove(array.ctypes.data, data, array.nbytes)
        return array

    def __call__(self, asked):
        """Answers {name: array} to questions {name: array}."""
        names = {k: list(v) for k, v in self.signature.items()}
        sources, targets = (
            self.tensors(list(self.signature[k].values()))
            for k in ("inputs", "outputs")
        )
        given = (ctypes.c_void_p * len(sources))(
            *(self.filled(asked[name]) for name in names["inputs"])
        )
        answers = (ctypes.c_void_p * len(targets))()
        self.tf.TF_SessionRun(
            self.session, None, sources, given, len(sources), targets, answers,
            len(targets), None, 0, None, self.status,
        )  # fmt: skip
        self.check()
        return dict(zip(names["outputs"], map(self.read, answers), strict=True))


def main():
    """Answer all questions of a folder."""
    folder = Path(sys.argv[1])
    signature = json.loads((folder / "signature.json").read_text())
    model = Model(folder / "model", signature)
    for path in folder.glob("inputs_*.npz"):
        answers = model(dict(np.load(path)))
        np.savez(folder / path.name.replace("inputs", "c"), **answers)
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main()
