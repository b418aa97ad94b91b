"""The loop over time of recurrent layers: Keras' own, over any function.

Keras runs it with what each framework compiles and differentiates: a while
loop with a known number of rounds on TensorFlow, a scan on JAX.
"""

from types import SimpleNamespace

import keras


def run(step, sequences, states, mask, layer, **options):
    """Run `step(inputs, states)` -> (output, states) over time.

    Args:
        step: the function; states keep their shapes and dtypes.
        sequences: (batch, time, features).
        states: initial states, a list.
        mask: (batch, time) or None: where False, states and output stay.
        layer: the recurrent layer whose `go_backwards`, `unroll` and so on
            are meant.
        **options: such options, otherwise.

    Returns:
        (last output, outputs, states).
    """
    loop = SimpleNamespace(
        cell=step,
        go_backwards=layer.go_backwards,
        unroll=layer.unroll,
        stateful=layer.stateful,
        zero_output_for_mask=layer.zero_output_for_mask,
        return_sequences=layer.return_sequences,
    )
    vars(loop).update(options)
    # Keras' loop reads these from the layer it belongs to, and the layer's
    # cell may be any function.
    return keras.layers.RNN.inner_loop(loop, sequences, states, mask)
