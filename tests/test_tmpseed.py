import keras
def test_a():
    global a
    a=float(keras.ops.convert_to_numpy(keras.random.normal((1,)))[0])
def test_b():
    assert a==float(keras.ops.convert_to_numpy(keras.random.normal((1,)))[0])
    import sys; print([m for m in ('tensorflow','torch','jax') if m in sys.modules])
