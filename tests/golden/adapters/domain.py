"""Statistics of domains."""

import keras_norm as kn
from golden.adapters.area import moving
from golden.plans import Link
from golden.plans import Plan

STATE = {"moving mean": "moving_mean", "moving variance": "moving_variance"}


def specific(row):
    """All samples belong to the domain that the row's config names."""
    config = row.config
    arguments = {"num_domains": config["num_domains"], "epsilon": row.epsilon}

    class OfOneDomain(kn.layers.DomainSpecificBatchNormalization):
        def call(self, inputs, domain=None, training=None, mask=None):
            return super().call(inputs, config["domain"], training, mask)

    def make(axis, **keywords):
        return OfOneDomain(axis=axis, **arguments, **moving(row), **keywords)

    links = {
        f"{role} of domain {d}": Link(weight, d)
        for role, weight in {"gamma": "gamma", "beta": "beta", **STATE}.items()
        for d in range(config["num_domains"])
    }
    return Plan(links=links, make=make)


def transferable(row):
    links = {
        f"{role} of the {domain}": Link(weight, d)
        for role, weight in STATE.items()
        for d, domain in enumerate(("source", "target"))
    }
    return Plan({"epsilon": row.epsilon, **moving(row)}, links)


ADAPTERS = {
    "DomainSpecificBatchNormalization": specific,
    "TransferableNormalization": transferable,
}
