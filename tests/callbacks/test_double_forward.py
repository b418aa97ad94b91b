"""Double forward propagation: the memory has seen the weights of now."""

import keras
import numpy as np

from contract.method import numpy
from contract.tolerances import close
from keras_norm import callbacks
from keras_norm import layers

XLA = keras.backend.backend() != "torch"
FIT = {"batch_size": 6, "shuffle": False, "verbose": 0}


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5)).astype("float32")
    return x, rng.normal(size=(12, 1)).astype("float32")


def model_of(*layers):
    first, last = (
        keras.layers.Dense(
            n, kernel_initializer=keras.initializers.GlorotUniform(seed=n)
        )
        for n in (4, 1)
    )
    model = keras.Sequential([keras.Input((5,)), first, *layers, last])
    model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=XLA)
    return model


def test_memory_holds_the_batch_after_the_step():
    x, target = data()
    memory = layers.MemorizedBatchNormalization(memory_size=3)
    other = keras.layers.BatchNormalization()
    dropout = keras.layers.Dropout(0.5, seed=1)
    model = model_of(memory, other, dropout)
    callback = callbacks.DoubleForward()
    model.fit(x, target, epochs=1, callbacks=[callback], **FIT)
    assert int(memory.count) == 2
    features = numpy(model.layers[0](x[6:]))
    close(numpy(memory.memory_mean)[0], features.mean(axis=0), x.size)
    close(numpy(memory.memory_variance)[0], features.var(axis=0), x.size)
    # Without it the entries are those of the weights before the step, and all
    # else is the same after one step: the second pass moved nothing else.
    found = []
    for given in ([callback], []):
        memory = layers.MemorizedBatchNormalization(memory_size=3)
        other = keras.layers.BatchNormalization()
        dropout = keras.layers.Dropout(0.5, seed=1)
        model = model_of(memory, other, dropout)
        before = numpy(model.layers[0](x[:6])).mean(axis=0)
        history = model.fit(x[:6], target[:6], callbacks=given, **FIT)
        seeds = [v for v in model.variables if "seed" in v.path]
        assert seeds
        found.append(
            [
                history.history["loss"][0],
                *(numpy(w) for w in model.layers[0].weights),
                *(numpy(w) for w in other.weights),
                *(numpy(s) for s in seeds),
            ]
        )
    close(numpy(memory.memory_mean)[0], before, x.size)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_model_gets_its_step_back():
    x, target = data()
    memory = layers.MemorizedBatchNormalization(memory_size=3)
    model = model_of(memory)
    callback = callbacks.DoubleForward()
    model.fit(x, target, callbacks=[callback], **FIT)
    assert "train_step" not in vars(model)
    before = numpy(model.layers[0](x[:6])).mean(axis=0)
    model.fit(x[:6], target[:6], **FIT)
    close(numpy(memory.memory_mean)[0], before, x.size)
    # Evaluation has no step of its own to give back.
    model.evaluate(x, target, callbacks=[callback], verbose=0)
    assert "train_step" not in vars(model)
