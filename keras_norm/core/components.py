"""Moments and affine maps by the components of a mixture over points.

Points (M, C) belong to K components by constant shares (M, K). Components are
taken one after the other: no tensor (M, K, C), and no K tensors (M, C), are
ever kept. The backward passes are analytic for that reason; they need the
points and the shares alone.
"""

from keras import ops


def _deviations(points, shares, near):
    """(share, points - near) of one component after the other."""
    for k in range(shares.shape[1]):
        yield k, shares[:, k : k + 1], points - near[k : k + 1]


@ops.custom_gradient
def _sums(points, shares, near, weights):
    first, second = [], []
    for _, share, d in _deviations(points, shares, near):
        weighted = share * weights * d
        first.append(ops.sum(weighted, axis=0))
        second.append(ops.sum(weighted * d, axis=0))

    def grad(*args, upstream=None):
        if upstream is None:
            (upstream,) = args
        found = ops.zeros_like(points)
        for k, share, d in _deviations(points, shares, near):
            slope = upstream[0, k] + (2.0 * upstream[1, k]) * d
            found = found + share * weights * slope
        constants = (shares, near, weights)
        return found, *(ops.zeros_like(t) for t in constants)

    return ops.stack([ops.stack(first), ops.stack(second)]), grad


def sums(points, shares, near, weights):
    """Sums of weights * share * (x - near) and of its square, (2, K, C).

    Args:
        points: (M, C).
        shares: (M, K), constant.
        near: constant values near the means of the components, (K, C).
        weights: of the points, constant: (M, C), (M, 1) or (1, 1).
    """
    return _sums(points, shares, near, weights)


@ops.custom_gradient
def _mapped(points, shares, near, scale, offset, beta):
    y = beta
    for k, share, d in _deviations(points, shares, near):
        y = y + share * (d * scale[k] + offset[k])

    def grad(*args, upstream=None):
        if upstream is None:
            (upstream,) = args
        rate = ops.zeros_like(points)
        of_scale, of_offset = [], []
        for k, share, d in _deviations(points, shares, near):
            weighted = upstream * share
            rate = rate + share * scale[k]
            of_scale.append(ops.sum(weighted * d, axis=0))
            of_offset.append(ops.sum(weighted, axis=0))
        return (
            upstream * rate,
            ops.zeros_like(shares),
            ops.zeros_like(near),
            ops.stack(of_scale),
            ops.stack(of_offset),
            ops.sum(upstream, axis=0, keepdims=True),
        )

    return y, grad


def mapped(points, shares, near, scale, offset, beta):
    """beta + sum_k share_k ((x - near_k) * scale_k + offset_k), (M, C).

    Args:
        points: (M, C).
        shares: (M, K), constant.
        near: constant, (K, C).
        scale: (K, C).
        offset: (K, C).
        beta: (1, C).
    """
    return _mapped(points, shares, near, scale, offset, beta)
