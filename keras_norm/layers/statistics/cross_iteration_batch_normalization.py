"""Cross-iteration batch normalization: recent batches, compensated.

Yao et al., 2021, https://arxiv.org/abs/2002.05712
"""

from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import cross_iteration
from keras_norm.core.areas import Area
from keras_norm.core.cross_iteration_input import KernelInput
from keras_norm.core.cross_iteration_operation import PlacedStandardize
from keras_norm.core.cross_iteration_state import add_window
from keras_norm.core.cross_iteration_state import check_window
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.patches import Patches
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class CrossIterationBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / (sqrt(variance) + epsilon) + beta of a window.

    mean = mean_k mean_k and variance = mean_k E_k[x^2] - mean^2 over the last
    `window_size` batches, the one of now included. Where x = W * input + b and
    the call is given input and W, statistics of a past batch are compensated
    for the change D of W since, to first order: its mean by <E[patch], D>, its
    E[x^2] by 2 <E[x patch], D>. Entries whose variance would be negative are
    left out.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    window in training; in inference moving averages of each batch's mean and
    unbiased variance.

    Args:
        window_size: batches of the window; 1 is batch normalization.
        burn_in: so many steps are batch normalization with the unbiased
            variance, before the window begins to fill.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the deviation.
        epsilon_placement: "outside" the root as in the authors' program, or
            "inside".
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor x of rank at least 2.
        training: True uses and moves the window.
        mask: weights aligned to the leading axes; with a kernel the same for
            all channels.
        layer_input: what the layer before made x of, channels where x has
            them. Only looked at in training.
        kernel: the kernel it was made with, as Keras' layers have it: (inputs,
            channels) of a dense layer, (..., inputs, channels) of a
            convolution. The call that builds the layer says whether there is
            one.
        strides: of that convolution.
        padding: of it, "valid" or "same".
        dilation_rate: of it.

    Raises:
        ValueError: a window or burn-in that is no number of batches; an input
            without a kernel or a kernel without an input; a kernel of other
            sizes than the input and x.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> dense = keras.layers.Dense(4, use_bias=False)
    >>> layer = kn.layers.CrossIterationBatchNormalization(window_size=4)
    >>> x = np.random.normal(size=(8, 3)).astype("float32")
    >>> y = layer(dense(x), training=True, layer_input=x, kernel=dense.kernel)
    >>> tuple(y.shape)
    (8, 4)

    Reference:

    - Yao et al., Cross-Iteration Batch Normalization, CVPR 2021,
      https://arxiv.org/abs/2002.05712

    Note: as in the authors' program gradients flow through the statistics of
    the batch of now alone, whose weight is one over the number of entries.
    Where the paper takes max(E[x^2], mean^2), the program leaves the entry out
    and so do we. Its default buffer is empty, the paper's window 8. State, of
    at least float32: (window_size - 1) * 2 times the kernel, and some numbers
    for each channel. `CrossIterationConv2D` and `CrossIterationDense` have the
    kernel themselves; without one past statistics count as they were. A bias
    of the layer before is not compensated: leave it out.
    """

    def __init__(
        self,
        window_size=8,
        burn_in=0,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        epsilon_placement="outside",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=PlacedStandardize(epsilon_placement),
            statistics=MovingAverage(momentum, unbiased=True),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        check_window(window_size, burn_in)
        self.window_size, self.burn_in = window_size, burn_in
        self.momentum = float(momentum)
        self.epsilon_placement = epsilon_placement
        self.synchronized = synchronized
        self.kernel_shape: Any = None
        self.kernel_groups = 1

    def build(self, inputs_shape, layer_input_shape=None, kernel_shape=None):
        """Create gamma and beta, the state, the window."""
        self.kernel_input_shape = layer_input_shape
        if kernel_shape is not None:
            self.kernel_shape = tuple(kernel_shape)
        super().build(inputs_shape)

    def build_state(self, channels):
        """Moving averages and window."""
        inputs, patches = 0, None
        if self.kernel_shape is not None:
            *sizes, width, outputs = self.kernel_shape
            inputs = self.kernel_input_shape[self.axis]
            if outputs != channels or inputs % width:
                raise errors.received(
                    "`kernel` must have the shape (..., channels of the "
                    "input of a group, channels of x).",
                    kernel_shape=self.kernel_shape,
                    layer_input_shape=self.kernel_input_shape,
                    channels=channels,
                )
            self.kernel_groups = inputs // width
            patches = Patches(sizes)
        add_window(self, channels, patches, inputs)

    # What stands beside the input is of the layer before, and no list takes it.
    further_inputs = ()

    def call(
        self,
        inputs,
        training=None,
        mask=None,
        layer_input=None,
        kernel=None,
        strides=1,
        padding="valid",
        dilation_rate=1,
    ):
        """Normalize; see the class."""
        self.check_kernel(layer_input, kernel)
        x = self.widened(inputs)
        training = bool(training) and self.trainable
        source = None
        if training and self.window and kernel is not None:
            patches = Patches(
                self.kernel_shape[:-2], strides, padding, dilation_rate
            )
            source = self.source(layer_input, kernel, patches)
        call = cross_iteration.CrossIterationCall(
            self, self.operation, self.area, source
        )

        def recover(scale, offset):
            return self.recovery.fold(self, scale, offset)

        y = cross_iteration.normalize(
            call, x, self.axis, training, mask, recover
        )
        return self.narrowed(y)

    def check_kernel(self, layer_input, kernel):
        """Both or none, as at the call that built the layer."""
        given = layer_input is not None, kernel is not None
        known = self.kernel_shape is not None
        if given[0] != given[1] or (given[1] and not known):
            raise errors.received(
                "`layer_input` and `kernel` are given together, from the first "
                "call on.",
                layer_input=layer_input is not None,
                kernel=kernel is not None,
                kernel_shape_of_the_first_call=self.kernel_shape,
            )

    def source(self, layer_input, kernel, patches):
        """What the kernel of now sees."""
        inputs = ops.stop_gradient(self.widened(layer_input))
        if len(inputs.shape) > 2:
            inputs = ops.moveaxis(inputs, self.axis, -1)
        width, outputs = self.kernel_shape[-2:]
        kernel = ops.cast(kernel, inputs.dtype)
        kernel = ops.reshape(kernel, (patches.count, width, outputs))
        return KernelInput(
            inputs,
            kernel,
            patches,
            self.kernel_groups,
            synchronized=self.synchronized,
        )

    def compute_output_shape(
        self, inputs_shape, layer_input_shape=None, kernel_shape=None
    ):
        """The input's shape."""
        return tuple(inputs_shape)
