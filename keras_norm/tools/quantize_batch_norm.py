"""Batch normalization of integer codes in integers alone."""

import math
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import fixed_point
from keras_norm.core.code_scales import LIMIT
from keras_norm.core.code_scales import checked_range
from keras_norm.core.code_scales import checked_scale
from keras_norm.core.fixed_point_layer import FixedPointBatchNormalization
from keras_norm.models.affine_maps import affine_map
from keras_norm.models.conversion_report import Kept

__all__ = [
    "FixedPointBatchNormalization",
    "QuantizationReport",
    "quantize_batch_norm",
]
DIVISORS = ("power_of_two", "integer")


@dataclass(frozen=True)
class QuantizationReport:
    """How the integers of `quantize_batch_norm` compare to the float result.

    Attributes:
        divisor: what all channels are divided by.
        multiplier: (C,), integers.
        bias: (C,), integers.
        codes: how many codes were tried, of all channels.
        mismatches: of how many the result differs.
    """

    divisor: int
    multiplier: np.ndarray
    bias: np.ndarray
    codes: int
    mismatches: int

    def __str__(self) -> str:
        """One line."""
        bits = int(np.abs(self.multiplier).max(initial=0)).bit_length()
        return (
            f"divisor {self.divisor}, multipliers of {bits} bits, "
            f"{self.mismatches} of {self.codes} codes differ"
        )


def quantize_batch_norm(
    layer: keras.layers.Layer,
    input_scale,
    output_scale,
    *,
    input_zero: int = 0,
    output_zero: int = 0,
    input_codes: tuple[int, int] = (-128, 127),
    output_codes: tuple[int, int] = (-128, 127),
    divisor: int | str = "power_of_two",
    return_report: bool = False,
) -> (
    FixedPointBatchNormalization
    | tuple[FixedPointBatchNormalization, QuantizationReport]
):
    """A trained batch normalization between integer codes, in integers.

    The codes q stand for x = input_scale * (q - input_zero), those of the
    result for y = output_scale * (code - output_zero). At inference
    y = scale * x + shift in each channel, so that, rounded to the nearest,

        code = clip(floor(slope * q + offset)),
        slope = scale * input_scale / output_scale,
        offset = (shift - scale * input_scale * input_zero) / output_scale
                 + output_zero + 1/2.

    The layer that is returned computes clip(floor((A q + B) / D)) in int32,
    with integers A and B for each channel and one D for all of them. Unless D
    is given it is the least for which **every** code of `input_codes` gives
    the same as the formula above: not nearly, exactly. Where slope * q +
    offset passes an integer, A q + B must pass a multiple of D, which is
    checked at these few q, whatever the range of the inputs. In 32 bits that
    is possible for inputs of 8 bits, and up to some 10 or 12 where the slopes
    of the channels are of the same size. For wider accumulators give D.

    Args:
        layer: a built `BatchNormalization` of Keras, or a layer of this
            package that at inference is one scale-and-shift for each channel;
            see `fold`.
        input_scale: of the input codes, a number or one for each channel (as
            for the sums of a convolution with a scale for each filter).
        output_scale: of the output codes, likewise.
        input_zero: the input code of 0.
        output_zero: the output code of 0.
        input_codes: (least, greatest), as (0, 255), or the range of an
            accumulator.
        output_codes: (least, greatest). An activation that clips is part of
            it: ReLU is a least code of `output_zero`.
        divisor: "power_of_two", a shift; "integer", the least of all, which
            may be much smaller; or the divisor itself: A and B are then the
            nearest integers, and (A q + B) / D is within (|q| + 1) / (2 D) of
            slope * q + offset.
        return_report: also return how many codes differ; all are tried.

    Returns:
        A `FixedPointBatchNormalization`, or (layer, `QuantizationReport`).

    Raises:
        ValueError: a layer that is no scale-and-shift; scales that are not
            positive; ranges that are none; no divisor for which int32 is wide
            enough.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> norm = keras.layers.BatchNormalization(epsilon=0.0)
    >>> norm.build((None, 2))
    >>> norm.set_weights(  # gamma, beta, moving mean, moving variance
    ...     [np.ones(2), np.zeros(2), np.array([1, -2]), np.array([4, 0.09])])
    >>> layer, report = kn.tools.quantize_batch_norm(
    ...     norm, input_scale=1 / 64, output_scale=1 / 32,
    ...     return_report=True)
    >>> print(report)
    divisor 128, multipliers of 8 bits, 0 of 512 codes differ
    >>> y = layer(np.array([[64, -128], [127, -100]]))
    >>> keras.ops.convert_to_numpy(y).tolist()
    [[0, 0], [16, 47]]

    Reference:

    - Lin, Sun, Xie, Zhou & Zhang, Optimal Quantization for Batch Normalization
      in Neural Network Deployments and Beyond, 2020,
      https://arxiv.org/abs/2008.13128

    Note: the idea, one divisor for both parts of the map, chosen so that no
    result changes, is the paper's; how A, B and D are found here is our own:
    A is one of the two integers next to slope * D, B any for which the codes
    are right. Halves are rounded up, where NumPy and Keras round them to even.
    """
    found = map_of(layer)
    inputs = checked_range("input_codes", input_codes)
    outputs = checked_range("output_codes", output_codes)
    channels = len(found.scale)
    ratio = checked_scale("input_scale", input_scale, channels)
    out = checked_scale("output_scale", output_scale, channels)
    slope = found.scale * ratio / out
    offset = found.shift / out - slope * input_zero + output_zero + 0.5
    result = integers(slope, offset, inputs, outputs, divisor)
    made = FixedPointBatchNormalization(
        result.divisor, outputs, found.axis, name=layer.name
    )
    shape: list = [None] * max(2, found.axis + 1, -found.axis)
    shape[found.axis] = channels
    made.build(tuple(shape))
    for name in ("multiplier", "bias"):
        value = getattr(result, name).astype("int32")
        getattr(made, name).assign(ops.convert_to_tensor(value))
    if not return_report:
        return made
    codes = channels * (inputs[1] - inputs[0] + 1)
    wrong = fixed_point.mismatches(slope, offset, result, inputs, outputs)
    report = QuantizationReport(
        result.divisor, result.multiplier, result.bias, codes, wrong
    )
    return made, report


def map_of(layer):
    """The scale-and-shift of a layer."""
    built = isinstance(layer, keras.layers.Layer) and layer.built
    try:
        if built:
            return affine_map(layer)
        reason = "it is no built layer"
    except Kept as problem:
        reason = str(problem)
    raise errors.received(
        f"`layer` must be a built batch normalization; {reason}.",
        "Those that `keras_norm.tools.fold` folds can be quantized.",
        layer=layer,
    )


def integers(slope, offset, inputs, outputs, divisor):
    """Multiplier, bias and divisor."""
    given = isinstance(divisor, int) and not isinstance(divisor, bool)
    if given and divisor > 0:
        found = fixed_point.rounded(slope, offset, divisor)
        reach = max(abs(q) for q in inputs)
        if np.max(np.abs(found.multiplier) * reach + abs(found.bias)) < LIMIT:
            return found
        raise too_narrow(divisor, slope, offset, inputs)
    if divisor not in DIVISORS:
        raise errors.received(
            f"`divisor` must be a positive integer or one of {list(DIVISORS)}.",
            divisor=divisor,
        )
    arguments = (slope, offset, inputs, outputs)
    powers = [2**n for n in range(31)]
    found = fixed_point.exact(*arguments, powers, LIMIT)
    if found is not None and divisor == "integer":
        every = range(1, found.divisor + 1)
        found = fixed_point.exact(*arguments, every, LIMIT)
    if found is None:
        raise too_narrow(divisor, slope, offset, inputs)
    return found


def too_narrow(divisor, slope, offset, inputs):
    """The error of products that do not fit."""
    size = np.max(np.abs(slope) * max(map(abs, inputs)) + np.abs(offset))
    power = math.floor(math.log2(LIMIT / (size + 1)))
    fix = "Give a smaller range of `input_codes`."
    if power >= 0:
        fix = (
            f"Give divisor={2**power}, with which some codes may be off by "
            "one, or a smaller range of `input_codes`."
        )
    return errors.received(
        "`divisor` must be such that |A q| + |B| is less than 2^31; none that "
        "is gives every code right."
        if divisor in DIVISORS
        else "`divisor` must be such that |A q| + |B| is less than 2^31.",
        fix,
        divisor=divisor,
        input_codes=inputs,
    )
