"""Cross-iteration batch normalization of what a kernel of its own makes."""

from keras import ops

from keras_norm.core import cross_iteration
from keras_norm.core.areas import Area
from keras_norm.core.cross_iteration_input import KernelInput
from keras_norm.core.cross_iteration_operation import PlacedStandardize
from keras_norm.core.cross_iteration_state import add_window
from keras_norm.core.cross_iteration_state import check_window
from keras_norm.core.normalized_kernel import NormalizedKernel
from keras_norm.core.normalized_kernel import common_pivot


class CrossIterationKernel(NormalizedKernel):
    """Base of layers with a kernel whose results are normalized.

    Args:
        window_size: batches of the window, the one of now included.
        burn_in: steps before the window begins to fill.
        epsilon_placement: "outside" the root, or "inside".
        synchronized: add up the statistics of all replicas.
        **kwargs: see `NormalizedKernel`.
    """

    def __init__(
        self,
        window_size=8,
        burn_in=0,
        epsilon_placement="outside",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_window(window_size, burn_in)
        self.window_size, self.burn_in = window_size, burn_in
        self.operation = PlacedStandardize(epsilon_placement)
        self.epsilon_placement = epsilon_placement
        self.synchronized = synchronized
        self.window: dict = {}
        self.kernel_groups = 1

    def build_window(self, inputs, groups, patches):
        """Create gamma, beta and the state, after kernel and bias.

        Args:
            inputs: channels of the input.
            groups: of them.
            patches: the places of the kernel.
        """
        outputs = self.kernel.shape[-1]
        self.patches, self.kernel_groups = patches, groups
        self.add_affine((outputs,))
        add_window(self, outputs, patches, inputs, True)

    def transform(self, x, training, mask=None):
        """Kernel, normalization, bias, gamma and beta; channels last."""
        source = origin = None
        if training:
            kernel = ops.cast(self.kernel, x.dtype)
            pivot = common_pivot(x, mask, self.half, self.synchronized)
            h, padded = self.relative(x, pivot)
            kernel = ops.reshape(
                kernel, (self.patches.count, *kernel.shape[-2:])
            )
            source = KernelInput(
                x,
                kernel,
                self.patches,
                self.kernel_groups,
                pivot,
                padded,
                relative=True,
                synchronized=self.synchronized,
            )
            origin = self.origin(pivot, kernel)
            # What h lacks is a constant, and 0 here: in the gradient h is
            # whole, since past means do not follow the kernel.
            h = h + (origin - ops.stop_gradient(origin))
        else:
            h = self.linear(x)
            if self.use_bias:
                h = h + ops.cast(self.bias, h.dtype)
        area = Area(synchronized=self.synchronized)
        call = cross_iteration.CrossIterationCall(
            self, self.operation, area, source, origin
        )
        return cross_iteration.normalize(
            call, h, -1, training, mask, self.recover
        )

    def origin(self, pivot, kernel):
        """The kernel's product with the pivot, and the bias."""
        groups, outputs = self.kernel_groups, kernel.shape[-1]
        pivot = ops.reshape(pivot, (groups, -1))
        kernel = ops.sum(kernel, axis=0)
        kernel = ops.reshape(kernel, (-1, groups, outputs // groups))
        origin = ops.einsum("gi,igo->go", pivot, kernel)
        origin = ops.reshape(origin, (-1,))
        if self.use_bias:
            origin = origin + ops.cast(self.bias, origin.dtype)
        return origin

    def recover(self, scale, offset):
        """Gamma and beta."""
        if self.gamma is not None:
            gamma = ops.cast(self.gamma, scale.dtype)[None]
            scale, offset = scale * gamma, offset * gamma
        if self.beta is not None:
            offset = offset + ops.cast(self.beta, scale.dtype)[None]
        return scale, offset
