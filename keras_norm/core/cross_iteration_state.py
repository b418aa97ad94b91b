"""The window of cross-iteration batch normalization: weights of a layer."""

from keras_norm.core.layer import positive


def check_window(window_size, burn_in):
    """Refuse what is no window."""
    positive("window_size", window_size)
    positive("burn_in", burn_in, 0)


def add_window(layer, channels, patches=None, inputs=0, relative=False):
    """Create the state of a layer.

    Args:
        layer: its `window_size` counts the batch of now.
        channels: of the normalized data.
        patches: the places of the kernel, None without one.
        inputs: channels of the kernel's input.
        relative: means follow from those of the patches.
    """
    layer.add_state("moving_mean", (channels,), "zeros")
    layer.add_state("moving_variance", (channels,), "ones")
    layer.add_state("step", (), "zeros", "int32")
    past = layer.window_size - 1
    shapes: dict[str, tuple] = {}
    if past:
        names = ["weight", "mean", "mean_rest", "variance"]
        names = [n for n in names if not (relative and "mean" in n)]
        shapes = {name: (channels,) for name in names}
    if past and patches is not None:
        width = inputs // layer.kernel_groups
        shapes["kernel"] = (patches.count, width, channels)
        shapes["covariance"] = shapes["kernel"]
        shapes["patch"] = shapes["patch_rest"] = (patches.count, inputs)
    layer.window = {
        name: layer.add_state(f"window_{name}", (past, *shape), "zeros")
        for name, shape in shapes.items()
    }
