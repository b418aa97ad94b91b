"""Compiled training functions of models whose layers are changed in place."""

import contextlib

import keras


@contextlib.contextmanager
def renewing(model):
    """Change layers of a model; what it has compiled follows.

    Training functions hold what the layers were when they were made. An
    optimizer holds a slot for each trainable weight: where these change, a new
    one of the same config takes over, with the old one's count of steps and
    loss scale. An error in making it leaves optimizers and functions as they
    were: the caller puts back the layers.
    """
    models = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.Model)
    ]
    # Made before anything is changed: not every config can be.
    fresh = {id(m): of_same_config(m) for m in models}
    before = {id(m): identities(m) for m in models}
    yield
    changed = [
        m
        for m in models
        if fresh[id(m)] is not None and identities(m) != before[id(m)]
    ]
    for m in changed:
        fresh[id(m)].build(m.trainable_variables)
        take_over(m.optimizer, fresh[id(m)])
    for m in changed:
        # Below the tracking of attributes, as `compile` sets it.
        object.__setattr__(m, "optimizer", fresh[id(m)])
    for m in models:
        m.train_function = None


# Of an optimizer itself, not of the weights.
COUNTS = ("_iterations", "step_counter", "dynamic_scale")


def take_over(old, new):
    """Count and loss scale of an optimizer, and of the one within it."""
    for name in COUNTS:
        value = getattr(old, name, None)
        if isinstance(value, keras.Variable):
            getattr(new, name).assign(keras.ops.copy(value))
    if hasattr(old, "inner_optimizer"):
        take_over(old.inner_optimizer, new.inner_optimizer)


def of_same_config(model):
    """A new optimizer for a compiled model whose own has slots already."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return type(optimizer).from_config(optimizer.get_config())


def identities(model) -> list:
    """Which weights are trainable."""
    return [id(v) for v in model.trainable_variables]
