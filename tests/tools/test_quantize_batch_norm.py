"""Integers give the codes of the float formula, for every code there is."""

from fractions import Fraction

import keras
import numpy as np
import pytest

import keras_norm as kn
from keras_norm.core import fixed_point

CHANNELS = 6


def array(x):
    return keras.ops.convert_to_numpy(x)


def trained(cls=keras.layers.BatchNormalization, **options):
    """Slopes of both signs, one of 0, means that move the codes apart."""
    random = np.random.default_rng(0)
    layer = cls(epsilon=1e-3, **options)
    layer.build((None, CHANNELS))
    layer.gamma.assign([1.3, -0.7, 0.0, 0.01, 40.0, -2.1])
    layer.beta.assign(random.normal(size=CHANNELS))
    layer.moving_mean.assign(random.normal(size=CHANNELS))
    layer.moving_variance.assign(random.uniform(0.3, 2, CHANNELS))
    return layer


def codes(layer, q, scales, zeros=(0, 0), outputs=(-128, 127)):
    """From the formula in float64: dequantize, normalize, round, clip."""
    gamma, beta, mean, variance = (
        w.astype("float64") for w in layer.get_weights()
    )
    x = scales[0] * (q[:, None] - zeros[0])
    y = gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta
    v = y / scales[1] + zeros[1]
    # Ties cannot be told apart from their neighbours in float64.
    tie = np.abs(v + 0.5 - np.round(v + 0.5)) < 1e-9
    return np.clip(np.floor(v + 0.5), *outputs), tie


CASES = {
    "signed": ((-128, 127), (-128, 127), (0, 0)),
    "unsigned": ((0, 255), (0, 15), (7, 3)),
    "relu": ((-128, 127), (-10, 117), (3, -10)),
    "accumulator": ((-500, 499), (0, 255), (0, 128)),
    "binary": ((-8, 7), (0, 1), (0, 0)),
}


@pytest.mark.parametrize("divisor", ["power_of_two", "integer"])
@pytest.mark.parametrize("case", CASES)
def test_every_code(case, divisor):
    inputs, outputs, zeros = CASES[case]
    span = inputs[1] - inputs[0]
    scales = np.full(CHANNELS, 6 / span), 4 / (outputs[1] - outputs[0])
    source = trained()
    layer, report = kn.tools.quantize_batch_norm(
        source,
        *scales,
        input_zero=zeros[0],
        output_zero=zeros[1],
        input_codes=inputs,
        output_codes=outputs,
        divisor=divisor,
        return_report=True,
    )
    q = np.arange(inputs[0], inputs[1] + 1)
    expected, tie = codes(source, q, scales, zeros, outputs)
    found = array(layer(np.repeat(q[:, None], CHANNELS, 1).astype("int32")))
    assert found.dtype == "int32"
    assert np.array_equal(found[~tie], expected[~tie])
    assert tie.mean() < 0.01 and len(np.unique(found)) > 1
    assert report.mismatches == 0 and report.codes == found.size
    power = report.divisor & (report.divisor - 1) == 0
    assert power or divisor == "integer"


@pytest.mark.once
@pytest.mark.parametrize("seed", range(4))
def test_no_smaller_divisor_has_integers(seed):
    """Against all B in all of its range, and exact arithmetic."""
    random = np.random.default_rng(seed)
    slope = random.normal(size=2)
    offset = random.normal(size=2)
    inputs, outputs = (-9, 12), (-4, 5)
    found = fixed_point.exact(
        slope, offset, inputs, outputs, range(1, 1000), 2**31
    )
    q = np.arange(inputs[0], inputs[1] + 1)

    def right(channel, a, b, divisor):
        s, o = Fraction(slope[channel]), Fraction(offset[channel])
        return all(
            np.clip(s * int(n) + o, *outputs) // 1 == code
            for n, code in zip(
                q, np.clip((a * q + b) // divisor, *outputs), strict=True
            )
        )

    def possible(channel, divisor):
        near = int(np.floor(slope[channel] * divisor))
        return any(
            right(channel, a, b, divisor)
            for a in (near, near + 1)
            for b in range(-6 * divisor, 6 * divisor)
        )

    for channel in range(2):
        assert right(
            channel,
            found.multiplier[channel],
            found.bias[channel],
            found.divisor,
        )
    for divisor in range(1, found.divisor):
        assert not all(possible(channel, divisor) for channel in range(2))


@pytest.mark.once
def test_a_given_divisor_keeps_the_bound():
    source, scales, divisor = trained(), (6 / 255, 4 / 255), 64
    layer, report = kn.tools.quantize_batch_norm(
        source, *scales, divisor=divisor, return_report=True
    )
    q = np.arange(-128, 128)
    expected, _ = codes(source, q, scales)
    found = array(layer(np.repeat(q[:, None], CHANNELS, 1)))
    # Of a rounding that moves no more than 129 / 128 codes.
    assert np.abs(found - expected).max() <= 2
    assert report.mismatches == np.sum(found != expected) > 0
    assert f"{report.mismatches} of {256 * CHANNELS} codes differ" in str(
        report
    )


def test_in_a_model(tmp_path):
    source = trained(kn.layers.BatchNormalization, axis=1, name="norm")
    layer = kn.tools.quantize_batch_norm(source, 6 / 255, 4 / 255)
    inputs = keras.Input((CHANNELS, 3), dtype="int32")
    model = keras.Model(inputs, layer(inputs))
    assert model.output.dtype == "int32" and layer.name == "norm"
    q = np.random.default_rng(0).integers(-128, 128, (5, CHANNELS, 3))
    found = model.predict(q.astype("int32"), verbose=0)
    flat = codes(source, np.arange(-128, 128), (6 / 255, 4 / 255))[0]
    channel = np.arange(CHANNELS)[None, :, None]
    assert np.array_equal(found, flat[q + 128, channel])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(again.predict(q.astype("int32"), verbose=0), found)
    assert not model.trainable_variables
    with pytest.raises(ValueError, match="must be codes"):
        layer(np.zeros((1, CHANNELS, 3), "float32"))


@pytest.mark.once
@pytest.mark.parametrize(
    "change, words",
    [
        ({"input_scale": 0.0}, "`input_scale` must be a positive"),
        ({"output_scale": [1.0, 2.0]}, "`output_scale` must be a positive"),
        ({"input_codes": (5, 1)}, "`input_codes` must be"),
        ({"output_codes": 127}, "`output_codes` must be"),
        ({"divisor": "two"}, "`divisor` must be a positive"),
        ({"divisor": -1}, "`divisor` must be a positive"),
        ({"divisor": 2**30}, "less than 2\\^31"),
        ({"input_codes": (-70_000, 70_000)}, "every code right.*divisor="),
        ({"layer": keras.layers.BatchNormalization()}, "no built layer"),
        ({"layer": "norm"}, "no built layer"),
        (
            {"layer": keras.layers.LayerNormalization()},
            "no built layer|no batch normalization",
        ),
    ],
)
def test_errors(change, words):
    arguments = {"layer": trained(), "input_scale": 0.1, "output_scale": 0.1}
    with pytest.raises(ValueError, match=words):
        kn.tools.quantize_batch_norm(**{**arguments, **change})
