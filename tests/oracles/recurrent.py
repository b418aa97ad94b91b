"""Reference recurrent networks: NumPy, float64, one time step after another.

Gates stand side by side as Keras has them: i, f, c, o of an LSTM, z, r, h of
a GRU. Weights are given by names: `kernel`, `recurrent_kernel`, `bias` (may be
missing), and the gains and offsets of what is normalized, `SITE_gamma` and
`state_beta`. Every function returns the outputs (batch, time, units) in the
order of the loop, and the last states.
"""

import numpy as np

from .common import bessel
from .common import moving_average


def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def hard_sigmoid(z):
    """A line of slope 1/6, between 0 and 1."""
    return np.clip(z / 6 + 0.5, 0, 1)


def softsign(z):
    """z / (1 + |z|)."""
    return z / (1 + np.abs(z))


ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "softsign": softsign,
}


# The loop ---------------------------------------------------------------------


def over_time(
    step, x, states, mask=None, go_backwards=False, zero_output_for_mask=False
):
    """Run `step(position, x_t, states, present)`; the first state is h.

    A sample that is masked keeps its states, and repeats its last output.
    Before the first it has none: NaN here, as loops of Keras differ (0, or the
    state it began with). Positions count from where the loop begins.
    """
    samples, length = x.shape[:2]
    if mask is None:
        mask = np.ones((samples, length), bool)
    if go_backwards:
        x, mask = x[:, ::-1], mask[:, ::-1]
    output = np.full_like(states[0], np.nan)
    outputs = []
    for position in range(length):
        present = mask[:, position]
        moved = step(position, x[:, position], states, present)
        states = [
            np.where(present[:, None], new, old)
            for new, old in zip(moved, states, strict=True)
        ]
        held = 0.0 if zero_output_for_mask else output
        output = np.where(present[:, None], moved[0], held)
        outputs.append(output)
    return np.stack(outputs, 1), states


def doubles(weights):
    """All weights in float64."""
    return {name: np.asarray(w, "float64") for name, w in weights.items()}


def begin(x, w, initial_state, count):
    """Inputs and first states in float64; zeros if none are given."""
    x = np.asarray(x, "float64")
    if initial_state is None:
        units = w["recurrent_kernel"].shape[0]
        return x, [np.zeros((len(x), units)) for _ in range(count)]
    return x, [np.asarray(s, "float64") for s in initial_state]


# Layer normalization ----------------------------------------------------------


def standardized(z, epsilon):
    """(z - mean) / sqrt(variance + epsilon) over the features of a sample."""
    mean = np.mean(z, -1, keepdims=True)
    variance = np.mean((z - mean) ** 2, -1, keepdims=True)
    return (z - mean) / np.sqrt(variance + epsilon)


def layer_normalized(z, gamma, epsilon, parts=1):
    """gamma times z standardized: all of it, or each of its parts by itself."""
    parts = np.split(z, parts, axis=-1)
    return gamma * np.concatenate([standardized(p, epsilon) for p in parts], -1)


def layer_normalized_lstm(
    x,
    weights,
    *,
    initial_state=None,
    placement="separate",
    norm_per_gate=False,
    normalize_carry=False,
    epsilon=1e-5,
    activation="tanh",
    recurrent_activation="sigmoid",
    **loop,
):
    """gates = LN(W x) + LN(U h) + b, or LN(W x + U h) + b.

    c = s(f) c + s(i) tanh(g); h = s(o) tanh(LN(c)). With `normalize_carry`
    what is handed on is LN(c).
    """
    w = doubles(weights)
    x, states = begin(x, w, initial_state, 2)
    act, gate = ACTIVATIONS[activation], ACTIVATIONS[recurrent_activation]
    parts = 4 if norm_per_gate else 1

    def step(_, x, states, present):
        h, c = states
        of_x, of_h = x @ w["kernel"], h @ w["recurrent_kernel"]
        if placement == "separate":
            z = layer_normalized(of_x, w["input_gamma"], epsilon, parts)
            z = z + layer_normalized(of_h, w["recurrent_gamma"], epsilon, parts)
        else:
            z = layer_normalized(of_x + of_h, w["gates_gamma"], epsilon, parts)
        i, f, g, o = np.split(z + w.get("bias", 0.0), 4, axis=-1)
        c = gate(f) * c + gate(i) * act(g)
        normalized = layer_normalized(c, w["state_gamma"], epsilon)
        normalized = normalized + w["state_beta"]
        h = gate(o) * act(normalized)
        return [h, normalized if normalize_carry else c]

    return over_time(step, x, states, **loop)


def layer_normalized_gru(
    x,
    weights,
    *,
    initial_state=None,
    placement="separate",
    norm_per_gate=False,
    reset_after=True,
    epsilon=1e-5,
    activation="tanh",
    recurrent_activation="sigmoid",
    **loop,
):
    """(z, r) = s(LN(W x) + LN(U h) + b); h = z h + (1 - z) n.

    n = tanh(LN(V x) + b + r (LN(T h) + b')), as in Keras, where the reset gate
    acts on the second bias too; with `reset_after=False` it acts on h, and
    there is one bias: tanh(LN(V x) + LN(T (r h)) + b). The placement "sum"
    has one LN of the sum, and biases outside: LN(V x + r T h) + b + r b'.
    """
    w = doubles(weights)
    x, states = begin(x, w, initial_state, 1)
    act, gate = ACTIVATIONS[activation], ACTIVATIONS[recurrent_activation]
    units = w["recurrent_kernel"].shape[0]
    parts = 2 if norm_per_gate else 1
    bias = w.get("bias", np.zeros((2, 3 * units)))
    if not reset_after and "bias" in w:
        bias = np.stack([bias, np.zeros(3 * units)])
    first, second = bias
    to_gates, to_candidate = slice(0, 2 * units), slice(2 * units, None)

    def normalized(z, site, parts=1):
        return layer_normalized(z, w[f"{site}_gamma"], epsilon, parts)

    def step(_, x, states, present):
        (h,) = states
        of_x = x @ w["kernel"][:, to_gates]
        of_h = h @ w["recurrent_kernel"][:, to_gates]
        if placement == "separate":
            both = normalized(of_x, "input_gates", parts)
            both = both + normalized(of_h, "recurrent_gates", parts)
        else:
            both = normalized(of_x + of_h, "gates", parts)
        both = gate(both + first[to_gates] + second[to_gates])
        z, r = both[:, :units], both[:, units:]

        kernel = w["recurrent_kernel"][:, to_candidate]
        of_x = x @ w["kernel"][:, to_candidate]
        of_h = h @ kernel if reset_after else (r * h) @ kernel
        behind = r if reset_after else 1.0
        if placement == "separate":
            of_h = normalized(of_h, "recurrent_candidate")
            n = normalized(of_x, "input_candidate") + behind * of_h
        else:
            n = normalized(of_x + behind * of_h, "candidate")
        n = act(n + first[to_candidate] + behind * second[to_candidate])
        return [z * h + (1 - z) * n]

    return over_time(step, x, states, **loop)


# Batch normalization ----------------------------------------------------------


def batch_normalized_lstm(
    x,
    weights,
    state,
    training,
    *,
    initial_state=None,
    momentum=0.9,
    epsilon=1e-5,
    unbiased=False,
    activation="tanh",
    recurrent_activation="sigmoid",
    **loop,
):
    """gates = BN(W x) + BN(U h) + b; c = s(f) c + s(i) tanh(g).

    h = s(o) tanh(BN(c)). `state` has rows, one for each of the first time
    steps, of `SITE_moving_mean` and `SITE_moving_variance`; later time steps
    use, and move, the last row. Who is masked does not count.

    Returns:
        The outputs, the last states, and the new moving averages.
    """
    w, moving = doubles(weights), doubles(state)
    moving = {name: np.array(value) for name, value in moving.items()}
    x, states = begin(x, w, initial_state, 2)
    act, gate = ACTIVATIONS[activation], ACTIVATIONS[recurrent_activation]

    def normalized(z, site, position, present):
        means = moving[f"{site}_moving_mean"]
        variances = moving[f"{site}_moving_variance"]
        row = min(position, len(means) - 1)
        mean, variance = means[row], variances[row]
        if training and present.any():
            seen = z[present]
            mean = sum(seen) / len(seen)
            variance = sum((seen - mean) ** 2) / len(seen)
            kept = variance * (bessel(len(seen)) if unbiased else 1)
            means[row] = moving_average(means[row], mean, 1, momentum)
            variances[row] = moving_average(variances[row], kept, 1, momentum)
        z = (z - mean) / np.sqrt(variance + epsilon)
        return w[f"{site}_gamma"] * z

    def step(position, x, states, present):
        h, c = states
        at = position, present
        z = normalized(x @ w["kernel"], "input", *at)
        z = z + normalized(h @ w["recurrent_kernel"], "recurrent", *at)
        i, f, g, o = np.split(z + w.get("bias", 0.0), 4, axis=-1)
        c = gate(f) * c + gate(i) * act(g)
        offset = w["state_beta"]
        h = gate(o) * act(normalized(c, "state", *at) + offset)
        return [h, c]

    outputs, states = over_time(step, x, states, **loop)
    return outputs, states, moving
