"""Batch-normalized LSTM: statistics of every time step.

Cooijmans et al., ICLR 2017, https://arxiv.org/abs/1603.09025
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import time_loop
from keras_norm.core import time_steps
from keras_norm.core.distribution import check_loop
from keras_norm.core.layer import check_epsilon
from keras_norm.core.layer import positive
from keras_norm.core.layer import statistics_dtype
from keras_norm.core.recurrent import NormalizedRecurrentLayer
from keras_norm.core.statistics import check_momentum
from keras_norm.layers.recurrent.batch_normalized_lstm_cell import SITES
from keras_norm.layers.recurrent.batch_normalized_lstm_cell import (
    BatchNormalizedLSTMCell,
)


@keras.saving.register_keras_serializable("keras_norm")
class BatchNormalizedLSTM(NormalizedRecurrentLayer, keras.layers.LSTM):
    """(i, f, g, o) = BN(W x) + BN(U h) + b; c = s(f) c + s(i) tanh(g).

    h = s(o) tanh(BN(c)), with BN(z) = gamma (z - mean) / sqrt(variance +
    epsilon) over the samples of a batch, of each time step by itself, and s
    the sigmoid. Inference uses moving averages for each of the first
    `max_time_steps` time steps, and those of the last one beyond.

    Area: batch, at a time step. Operation: standardize. Recovery: affine.
    Statistics: the batch in training, moving averages in inference.

    Args:
        units: size of the state.
        *args: further arguments of `keras.layers.LSTM`, in its order.
        max_time_steps: for how many time steps there are moving averages.
            None: the length of the sequences that the layer is built for.
        momentum: fraction of the moving averages kept at an update.
        epsilon: added to the variance, inside the root.
        unbiased: keep variances divided by samples - 1, as PyTorch programs.
        synchronized: statistics over the samples of all replicas. On
            TensorFlow with `unroll=True` only, which has no sums over
            replicas within loops.
        gamma_initializer: initializer of the gains, or a number. Near 0, so
            that tanh has gradients.
        beta_initializer: the same of the offset of the cell state. Those of the
            gates are the bias.
        gamma_regularizer: regularizer of the gains.
        beta_regularizer: regularizer of the offset of the cell state.
        gamma_constraint: constraint of the gains.
        beta_constraint: constraint of the offset of the cell state.
        **kwargs: keywords of `keras.layers.LSTM`.

    Call arguments:
        sequences: (batch, time, features).
        initial_state: [h, c], each (batch, units); None: zeros.
        mask: (batch, time); where False, a sample's states stay as they are,
            and it takes no part in the statistics.
        training: True normalizes with and updates batch statistics.

    Raises:
        ValueError: sequences of unknown length without `max_time_steps`;
            `use_cudnn=True`; arguments that Keras refuses; `synchronized`
            under TensorFlow's strategies without `unroll`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchNormalizedLSTM(8)
    >>> tuple(layer(np.ones((4, 5, 3), "float32"), training=True).shape)
    (4, 8)

    Weights of a plain LSTM are its first:

    >>> plain = keras.layers.LSTM(8)
    >>> plain.build((None, 5, 3))
    >>> layer.set_weights(plain.get_weights())

    Reference:

    - Cooijmans et al., Recurrent Batch Normalization, ICLR 2017,
      https://arxiv.org/abs/1603.09025

    Note:
        A time step is a position in the sequences, counted from where the
        loop begins: pad behind, and with `go_backwards` before. The paper
        starts recurrent kernels at the identity and kernels orthogonal:
        `recurrent_initializer="identity", kernel_initializer="orthogonal"`.
        Known programs train offsets of W x and U h besides the bias, which
        they only repeat: add them to it.
    """

    plain = keras.layers.LSTM
    plain_cell = keras.layers.LSTMCell
    cell_class = BatchNormalizedLSTMCell
    own = (
        "max_time_steps",
        "momentum",
        "epsilon",
        "unbiased",
        "synchronized",
    )

    def __init__(
        self,
        units,
        *args,
        max_time_steps=None,
        momentum=0.9,
        epsilon=1e-5,
        unbiased=False,
        synchronized=False,
        gamma_initializer=0.1,
        beta_initializer="zeros",
        gamma_regularizer=None,
        beta_regularizer=None,
        gamma_constraint=None,
        beta_constraint=None,
        **kwargs,
    ):
        own = {
            "gamma_initializer": gamma_initializer,
            "beta_initializer": beta_initializer,
            "gamma_regularizer": gamma_regularizer,
            "beta_regularizer": beta_regularizer,
            "gamma_constraint": gamma_constraint,
            "beta_constraint": beta_constraint,
        }
        super().__init__(own, units, *args, **kwargs)
        if max_time_steps is not None:
            positive("max_time_steps", max_time_steps)
        self.max_time_steps = max_time_steps
        self.momentum = check_momentum("momentum", momentum)
        self.epsilon = check_epsilon(epsilon)
        self.unbiased, self.synchronized = unbiased, synchronized

    def build(self, sequences_shape, initial_state_shape=None):
        """Create the cell's weights, then moving averages."""
        steps = self.max_time_steps or sequences_shape[1]
        if steps is None:
            raise errors.received(
                "`max_time_steps` must be given where the length of the "
                "sequences is unknown.",
                "Give the longest length in training: later time steps use "
                "the statistics of that one.",
                max_time_steps=None,
                input_shape=sequences_shape,
            )
        self.cell.time_steps = steps
        super().build(sequences_shape, initial_state_shape)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Normalize all inputs, run over time, follow the statistics."""
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        products = self.cell.input_products(sequences, training)
        products = ops.cast(products, statistics_dtype(products))
        if mask is not None:
            mask = ops.cast(mask, products.dtype)
        learns = bool(training) and self.trainable
        run = self._train if learns else self._infer
        outputs, states = run(products, initial_state, mask, training)
        if mask is not None and self.zero_output_for_mask:
            outputs = outputs * ops.expand_dims(mask, -1)
        return outputs[:, -1], outputs, states

    def _train(self, products, initial_state, mask, training):
        """By the batch's statistics, which the moving averages follow."""
        dtype, units = products.dtype, self.units
        affine = self.cell.affine(dtype)
        if self.synchronized and not self.unroll:
            check_loop("`synchronized=True` needs here. Use `unroll=True`.")

        def normalize(site, x, weights):
            gamma, beta = affine[site]
            return time_steps.normalize(
                x, gamma, beta, self.epsilon, weights, self.synchronized
            )

        inputs = normalize("input", products, mask)
        if mask is not None:
            inputs = ops.concatenate([inputs, ops.expand_dims(mask, -1)], -1)

        def step(inputs, states):
            weights = None if mask is None else inputs[:, -1]
            before = [ops.cast(s, dtype) for s in states]
            h, c = self._step(
                inputs,
                states,
                weights,
                training,
                lambda site, x: normalize(site, x, weights),
            )
            seen = ops.concatenate([h, c, before[0]], axis=-1)
            return seen, self._carried(h, c, states)

        _, seen, states = self._run(step, inputs, initial_state, True)
        outputs = seen[..., :units]
        # Nothing can be assigned within a loop that is compiled.
        before = ops.cast(seen[..., 2 * units :], self.compute_dtype)
        before = self.cell.recurrent_products(
            ops.stop_gradient(before), training
        )
        sites = {
            "input": products,
            "recurrent": ops.cast(before, dtype),
            "state": seen[..., units : 2 * units],
        }
        for site, x in sites.items():
            mean, variance = self.cell.moving(site)
            found = time_steps.measure(x, mask, self.synchronized)
            time_steps.follow(
                mean, variance, found, self.momentum, self.unbiased
            )
        return outputs, states

    def _infer(self, products, initial_state, mask, training):
        """By the moving averages."""
        dtype = products.dtype
        kept = {
            site: [ops.cast(ops.convert_to_tensor(m), dtype) for m in moving]
            for site, moving in ((s, self.cell.moving(s)) for s in SITES)
        }
        affine = self.cell.affine(dtype)
        limit = kept["state"][0].shape[0]
        row = time_steps.rows(ops.shape(products)[1], limit)

        def normalize(site, x, row):
            mean, variance = (ops.take(m, row, axis=0) for m in kept[site])
            gamma, beta = affine[site]
            return time_steps.normalize_by(
                x, mean, variance, gamma, beta, self.epsilon
            )

        # The loop hands out what belongs to a time step with the inputs.
        columns = [normalize("input", products, row)]
        alike = ops.ones_like(products[..., :1])
        columns.append(alike * ops.cast(row, dtype)[:, None])
        if mask is not None:
            columns.append(ops.expand_dims(mask, -1))
        width = 4 * self.units

        def step(inputs, states):
            # A sum, so that no sample at all gives row 0.
            row = ops.cast(ops.sum(inputs[:1, width]), "int32")
            h, c = self._step(
                inputs,
                states,
                None if mask is None else inputs[:, -1],
                training,
                lambda site, x: normalize(site, x, row),
            )
            return h, self._carried(h, c, states)

        _, outputs, states = self._run(
            step,
            ops.concatenate(columns, axis=-1),
            initial_state,
            self.return_sequences,
        )
        return outputs, states

    def _step(self, inputs, states, weights, training, normalize):
        """H and c after a step; where the weight is 0, those before."""
        projected = inputs[:, : 4 * self.units]
        after = self.cell.advance(projected, states, training, normalize)
        if weights is None:
            return after
        counts = ops.expand_dims(weights > 0, -1)
        return tuple(
            ops.where(counts, new, ops.cast(old, new.dtype))
            for new, old in zip(after, states, strict=True)
        )

    def _carried(self, h, c, states):
        return [ops.cast(h, states[0].dtype), ops.cast(c, states[1].dtype)]

    def _run(self, step, inputs, states, every):
        return time_loop.run(
            step,
            inputs,
            states,
            None,
            self,
            go_backwards=False,
            zero_output_for_mask=False,
            return_sequences=every,
        )

    def get_config(self):
        """All constructor arguments."""
        own = {n: getattr(self, n) for n in self.own}
        return {**super().get_config(), **own}
