"""Calls of a layer, the cheapest way of each backend."""

import weakref

import keras

_PROGRAMS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def answer(layer, given, **keywords):
    """`layer(given, **keywords)` of a built layer; its state moves.

    On JAX the call is one compiled program, as in `fit`: eager JAX makes one
    of every operation and shape, which takes several times as long. (Numerics
    and the golden vectors are compared in eager calls too.)
    """
    if keras.backend.backend() != "jax":
        return layer(given, **keywords)
    programs = _PROGRAMS.setdefault(layer, {})
    mask = keywords.pop("mask", None)
    # What Python decides: each has a program of its own.
    key = layer.trainable, *sorted(keywords.items())
    if key not in programs:
        programs[key] = compiled(layer, keywords)
    variables = list(layer.variables)
    before = [v.value for v in variables]
    y, after = programs[key](before, given, mask)
    for variable, value in zip(variables, after, strict=True):
        variable.assign(value)
    return y


def compiled(layer, keywords):
    """A function (variables, given, mask) -> (outputs, new variables)."""
    import jax

    def program(before, given, mask):
        mapping = list(zip(layer.variables, before, strict=True))
        options = keywords if mask is None else {**keywords, "mask": mask}
        with keras.StatelessScope(state_mapping=mapping) as scope:
            y = layer(given, **options)
        after = [scope.get_current_value(v) for v in layer.variables]
        return y, after

    return jax.jit(program)
