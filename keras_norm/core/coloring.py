"""Coloring: a matrix put back after whitening, one for all or by class.

Siarohin, Sangineto & Sebe, 2019, https://arxiv.org/abs/1806.00420
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import channel_groups
from keras_norm.core import moments
from keras_norm.core.classes import check_classes
from keras_norm.core.layer import one_integer
from keras_norm.core.recoveries import Nothing


@keras.saving.register_keras_serializable("keras_norm")
class Coloring(Nothing):
    """y = x @ color + bias; with classes, each adds a color and a bias.

    Class k: y = x @ (color + class_color[k]) + bias + class_bias[k]. With
    `num_bases` the class colors are class_color[k] = sum_b class_code[k, b]
    color_basis[b]. At the start a class adds nothing.

    After a matrix operation color and whitening are one matrix product; with
    classes one for each sample, but two where the layer was built for samples
    of fewer positions than channels, which is less work.

    Args:
        num_classes: the condition is an integer of shape (N,) or (N, 1), or a
            soft assignment (N, num_classes). None: no condition.
        num_bases: number of color bases that the classes share.
        color_initializer: initializer of `color` (C, C).
        color_regularizer: regularizer of `color`.
        color_constraint: constraint of `color`.
        use_bias: add a learned bias.
        bias_initializer: initializer of `bias` (C,).
        bias_regularizer: regularizer of `bias`.
        bias_constraint: constraint of `bias`.
    """

    def __init__(
        self,
        num_classes=None,
        num_bases=None,
        color_initializer="identity",
        color_regularizer=None,
        color_constraint=None,
        use_bias=True,
        bias_initializer="zeros",
        bias_regularizer=None,
        bias_constraint=None,
    ):
        for name, value in (
            ("num_classes", num_classes),
            ("num_bases", num_bases),
        ):
            if value is not None and one_integer(name, value) < 1:
                raise errors.received(
                    f"`{name}` must be positive.", **{name: value}
                )
        if num_bases is not None and num_classes is None:
            raise errors.received(
                "`num_bases` needs `num_classes`.",
                "The bases make up the colors of the classes.",
                num_bases=num_bases,
                num_classes=num_classes,
            )
        self.num_classes, self.num_bases = num_classes, num_bases
        self.use_bias = use_bias
        self.color_initializer = keras.initializers.get(color_initializer)
        self.color_regularizer = keras.regularizers.get(color_regularizer)
        self.color_constraint = keras.constraints.get(color_constraint)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        if num_classes is not None:
            self.condition = "classes (N,) or (N, 1), or soft (N, num_classes)"

    # Weights ----------------------------------------------------------------

    def build(self, layer, channels, condition_shape=None) -> None:
        """Color and bias, then what the classes add to them."""
        self.check(condition_shape)

        def add(name, shape, initializer, regularizer=None, constraint=None):
            weight = layer.add_weight(
                shape=shape,
                name=name,
                initializer=initializer,
                regularizer=regularizer,
                constraint=constraint,
                autocast=False,
            )
            setattr(layer, name, weight)

        k, b, square = self.num_classes, self.num_bases, (channels, channels)
        add(
            "color",
            square,
            self.color_initializer,
            self.color_regularizer,
            self.color_constraint,
        )
        if self.use_bias:
            add(
                "bias",
                (channels,),
                self.bias_initializer,
                self.bias_regularizer,
                self.bias_constraint,
            )
        if b is not None:
            # Zeros in one factor alone: both would have no gradient.
            add("class_code", (k, b), "zeros")
            add("color_basis", (b, *square), "glorot_uniform")
        elif k is not None:
            add("class_color", (k, *square), "zeros")
        if k is not None and self.use_bias:
            add("class_bias", (k, channels), "zeros")

    def check(self, condition_shape):
        """Refuse conditions that are no classes."""
        if condition_shape is None:
            return
        if self.num_classes is None:
            raise errors.received(
                "`num_classes` must be given where there is a condition.",
                condition_shape=tuple(condition_shape),
                num_classes=None,
            )
        check_classes(condition_shape, self.num_classes)

    # Colors and biases of a call --------------------------------------------

    def colors(self, layer, condition, dtype):
        """The matrices, (1, C, C) or (N, C, C), output index last."""
        color = ops.expand_dims(ops.cast(layer.color, dtype), 0)
        if self.num_classes is None:
            return color
        if self.num_bases is None:
            return color + of_classes(layer.class_color, condition, dtype)
        code = of_classes(layer.class_code, condition, dtype)
        return color + mixed(code, ops.cast(layer.color_basis, dtype))

    def biases(self, layer, condition, dtype):
        """The biases, (1, C) or (N, C), or None."""
        if not self.use_bias:
            return None
        bias = ops.expand_dims(ops.cast(layer.bias, dtype), 0)
        if self.num_classes is None:
            return bias
        return bias + of_classes(layer.class_bias, condition, dtype)

    def folds(self, layer):
        """Is the color multiplied into the matrix of the operation?"""
        known = layer.positions is not None
        few = known and layer.positions < layer.channels
        return self.num_classes is None or not few

    def color(self, layer, blocks, groups, condition=None):
        """Block-diagonal blocks times the color: one group of all channels."""
        c = groups.channels
        if not self.folds(layer):
            return blocks, groups, None, None
        # The rows of the color, cut and filled up like the channels.
        rows = ops.swapaxes(self.colors(layer, condition, blocks.dtype), -1, -2)
        rows = ops.transpose(groups.split(rows), (0, 2, 3, 1))
        if self.num_classes is None:
            rows = rows[0]
        one = ops.matmul(blocks, rows)
        d = groups.count * groups.width
        one = ops.reshape(one, (*ops.shape(one)[:-3], 1, d, c))[..., :c, :]
        offset = self.biases(layer, condition, blocks.dtype)
        return one, channel_groups.ChannelGroups(c, c), None, offset

    def apply(self, layer, y, condition=None):
        """The color, where it is not in the operation's matrix already."""
        if layer.operation.family == "matrix" and self.folds(layer):
            return y
        rank, c = len(y.shape), layer.channels
        axis = layer.axis % rank
        blocks = self.colors(layer, condition, y.dtype)
        if self.num_classes is not None:
            blocks = ops.expand_dims(blocks, 1)
        groups = channel_groups.ChannelGroups(c, c)
        y = channel_groups.apply(ops.moveaxis(y, axis, -1), blocks, groups)
        bias = self.biases(layer, condition, y.dtype)
        if bias is not None:
            y = y + moments.viewer(rank, -1)(bias)
        return ops.moveaxis(y, -1, axis)


def of_classes(table, condition, dtype):
    """Rows of a table (K, ...) for labels, or mixtures for soft ones."""
    table = ops.cast(table, dtype)
    condition = ops.convert_to_tensor(condition)
    if len(condition.shape) == 2 and condition.shape[-1] != 1:
        return mixed(ops.cast(condition, dtype), table)
    labels = ops.cast(ops.reshape(condition, (-1,)), "int32")
    return ops.take(table, labels, axis=0)


def mixed(weights, table):
    """(N, K) weights of the rows of a table (K, ...): (N, ...)."""
    rows = table.shape[0]
    flat = ops.matmul(weights, ops.reshape(table, (rows, -1)))
    return ops.reshape(flat, (-1, *table.shape[1:]))
