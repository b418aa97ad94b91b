"""Covariances that a whitening layer keeps: measured, read, written."""

import math

import numpy as np
from keras import ops

from keras_norm.core import covariances
from keras_norm.core import domains
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.whitening import fills
from keras_norm.models.collected_statistics import Collected
from keras_norm.models.collected_statistics import aligned
from keras_norm.models.layer_calls import assign
from keras_norm.models.layer_calls import host
from keras_norm.models.layer_calls import wide
from keras_norm.models.layer_statistics import bessel
from keras_norm.models.layer_statistics import unknown_state

ABOUT = {"covariance": "mean"}


class Covariance:
    """Mean and covariances of groups of channels, and the matrix of them.

    Args:
        layer: a composed layer whose operation whitens.
    """

    def __init__(self, layer):
        self.layer, self.operation = layer, layer.operation

    def measure(self, call) -> Collected:
        """The statistics of a call's input."""
        return self.of(call.data, call.mask)

    def of(self, x, mask) -> Collected:
        """Those of data (1, C) and (1, groups, d, d)."""
        axis = self.layer.axis % len(x.shape)
        groups = self.operation.groups(self.layer.channels)
        table = moments.measure(x, axis, mask, common=True)
        averages = Area().over(table)
        _, mean, covariance = covariances.of_batch(
            table, averages, axis, groups
        )
        values = {
            "mean": host(averages.base) + host(mean),
            "covariance": host(covariance)[None],
        }
        count = host(averages.entries)[:, 0]
        return Collected(count, values, ABOUT)

    @property
    def kept_matrix(self):
        """Does the state hold matrices instead of covariances?"""
        return self.operation.running == "matrix"

    def kept(self, between=True) -> Collected:
        """The state, as statistics of one entry."""
        if self.kept_matrix:
            raise unknown_state(self.layer)
        covariance = self.rows(host(self.layer.moving_covariance), 4)
        groups = self.operation.groups(self.layer.channels)
        real = host(fills(groups, "float32")[0])
        if self.regularizes:
            eye = np.eye(groups.width)
            covariance = covariance - self.layer.epsilon * eye
        values = {
            "mean": self.rows(host(self.layer.moving_mean), 2),
            "covariance": covariance * real,
        }
        return Collected(np.ones(len(covariance)), values, ABOUT)

    @staticmethod
    def rows(value, rank):
        """A row for each domain, or one."""
        return value if value.ndim == rank else value[None]

    @property
    def regularizes(self):
        """Is epsilon in the covariance that is kept?"""
        return not self.operation.shrink

    @property
    def unbiased(self):
        """Is the covariance that is kept divided by m - 1?"""
        return self.operation.unbiased or self.layer.statistics.unbiased

    def write(self, found) -> None:
        """Make statistics the state; what nothing is known of stays."""
        layer = self.layer
        covariance = found.values["covariance"]
        if self.unbiased:
            covariance = covariance * aligned(bessel(found.count), covariance)
        if not layer.moving_mean.shape[:-1]:
            covariance = covariance[0]
        dtype = wide(layer.moving_mean.dtype)
        covariance = ops.convert_to_tensor(covariance.astype(dtype))
        self.put(layer.moving_mean, found.values["mean"], found.count)
        if self.kept_matrix:
            matrix = self.operation.matrix_of(layer, covariance)
            self.put(layer.moving_matrix, host(matrix), found.count)
            return
        if self.regularizes:
            covariance = self.operation.regularized(
                covariance, layer.acting_epsilon(dtype)
            )
        real, filler = fills(self.operation.groups(layer.channels), dtype)
        covariance = host(covariance * real + filler)
        self.put(layer.moving_covariance, covariance, found.count)
        if hasattr(layer, "whitening_matrix"):
            rows = math.prod(covariance.shape[-3:-1])
            seen = np.repeat(found.count > 0, rows)
            every = bool(seen.all())
            self.operation.refresh(
                layer, True if every else ops.convert_to_tensor(seen)
            )

    @staticmethod
    def put(variable, value, count):
        """Assign the rows that saw anything."""
        value = np.reshape(value, variable.shape)
        seen = aligned(count, value) if value.ndim and len(count) > 1 else count
        assign(variable, np.where(seen > 0, value, host(variable)))


class Mixed(Covariance):
    """The batch's share of switchable whitening: no epsilon in it."""

    kept_matrix = False
    regularizes = False
    unbiased = False


class OfDomains(Covariance):
    """Statistics of every domain; a sample counts for one by its weight."""

    def measure(self, call):
        """A row for every domain."""
        layer, x, mask = self.layer, call.data, call.mask
        domain = call.second("domain")
        if domain is None:
            domain = layer.inference_domain
            domain = layer.num_domains - 1 if domain is None else domain
        weights = domains.chosen(domain, layer.num_domains, x.dtype).weights
        n = ops.shape(x)[0]
        weights = ops.broadcast_to(weights, (n, layer.num_domains))
        found = []
        for d in range(layer.num_domains):
            share = weights[:, d]
            if mask is not None:
                seen = moments.aligned(mask, x)
                share = moments.aligned(share, x) * seen
            found.append(self.of(x, share))
        values = {
            name: np.concatenate([one.values[name] for one in found])
            for name in found[0].values
        }
        count = np.concatenate([one.count for one in found])
        return Collected(count, values, ABOUT)
