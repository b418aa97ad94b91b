"""Predictions for an unseen domain: the average over those that were seen.

Seo, Suh, Kim, Kim, Han & Han, 2020, https://arxiv.org/abs/1907.04275
"""

import keras
import numpy as np
from keras import tree

from keras_norm import errors
from keras_norm.core import domains as indices
from keras_norm.models.model_data import Batches


def average_over_domains(
    model: keras.Model,
    inputs,
    domain_input: int | str | None = None,
    domains=None,
    weights=None,
    batch_size: int = 32,
    steps: int | None = None,
):
    """Outputs of a model, averaged over the domains that it knows.

        y = sum_d w_d model(inputs, domain d)

    for samples whose domain was not trained on. The model ends with what is
    to be averaged, probabilities say, and not logits. It stays as it is.

    Args:
        model: a model of which one input is the domain.
        inputs: what `predict` takes, without the domain: arrays, datasets or
            iterators of batches; a dict or list of them where there are more
            inputs than one.
        domain_input: name of the domain's input, or its place among them;
            None: the last.
        domains: which domains, integers; None: all that the layers of the
            model have.
        weights: of these domains, of which each counts by its share in the
            sum; None: all alike.
        batch_size: samples of a batch of arrays.
        steps: number of batches; None: all. Iterators need it.

    Returns:
        Averages as NumPy arrays, in the structure of the model's outputs.

    Raises:
        ValueError: no such input, no domain, a number that is none; weights
            that do not match, are negative, or all 0.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = keras.Input((4,))
    >>> domain = keras.Input((), dtype="int32")
    >>> norm = kn.layers.DomainSpecificBatchNormalization(num_domains=3)
    >>> y = keras.layers.Dense(2, "softmax")(norm(x, domain))
    >>> model = keras.Model([x, domain], y)
    >>> unseen = np.random.normal(size=(10, 4)).astype("float32")
    >>> kn.tools.average_over_domains(model, unseen).shape
    (10, 2)

    Reference:

    - Seo et al., Learning to Optimize Domain Specific Normalization for Domain
      Generalization, ECCV 2020, https://arxiv.org/abs/1907.04275
    """
    if domains is not None:
        domains = integers(domains)
    size = number_of_domains(model, domains)
    chosen = list(range(size) if domains is None else domains)
    shares = checked_shares(weights, chosen)
    place, names, tensor = place_of(model, domain_input)
    found = []
    for batch in Batches(inputs, steps, batch_size):
        n = int(tree.flatten(batch)[0].shape[0])
        total = None
        for d, share in zip(chosen, shares, strict=True):
            given = joined(batch, place, names, labels(d, n, size, tensor))
            y = tree.map_structure(
                lambda t, share=share: share * np.asarray(t, "float64"),
                model.predict_on_batch(given),
            )
            total = y if total is None else tree.map_structure(np.add, total, y)
        found.append(total)
    dtype = keras.config.floatx()
    return tree.map_structure(
        lambda *each: np.concatenate(each).astype(dtype), *found
    )


def integers(domains) -> list:
    """Python's integers of a list, a range or an array of them."""
    found = np.asarray(domains)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise errors.received(
            "`domains` must hold at least one domain, all integers.",
            domains=domains,
        )
    return found.tolist()


def number_of_domains(model, domains):
    """How many domains the layers have; checks which are asked for."""
    sizes = sorted(
        {
            layer.num_domains
            for layer in model._flatten_layers()
            if isinstance(getattr(layer, "num_domains", None), int)
        }
    )
    if domains is None and len(sizes) != 1:
        raise errors.received(
            "`domains` must be given where the layers of the model do not "
            "have one number of domains.",
            "Give the domains to average over, for example range(3).",
            domains=None,
            num_domains=sizes,
        )
    if domains is None:
        return sizes[0]
    size = min(sizes) if sizes else max(domains) + 1
    for domain in domains:
        indices.check("domains", domain, size)
    return size


def checked_shares(weights, domains):
    """Shares of the domains that add up to 1."""
    if weights is None:
        return [1.0 / len(domains)] * len(domains)
    found = np.asarray(weights, "float64")
    fits = found.shape == (len(domains),)
    if not fits or not np.all(found >= 0) or not np.sum(found) > 0:
        raise errors.received(
            "`weights` must be one number for each domain, not negative and "
            "not all 0.",
            weights=weights,
            domains=list(domains),
        )
    return list(found / np.sum(found))


def place_of(model, wanted):
    """Key or index of the domain's input, all names, its symbolic tensor."""
    if not getattr(model, "inputs", None):
        # Subclassed: nothing is known of its inputs.
        return (-1 if wanted is None else wanted), None, None
    several = len(model.inputs) > 1
    structure = model.input if several else model.inputs
    names = list(structure) if isinstance(structure, dict) else None
    tensors = tree.flatten(structure)
    if names is None:
        names = [t.name for t in tensors]
        keys = list(range(len(tensors)))
    else:
        tensors, keys = [structure[name] for name in names], names
    index = len(keys) - 1 if wanted is None else wanted
    if isinstance(wanted, str) and wanted in names:
        index = names.index(wanted)
    inside = isinstance(index, int) and -len(keys) <= index < len(keys)
    if not several or not inside:
        raise errors.received(
            "`domain_input` must be the name or the place of one of several "
            "inputs of the model.",
            "A model of several domains takes the domain as an input.",
            domain_input=wanted,
            inputs=names,
        )
    index = index % len(keys)
    return keys[index], names, tensors[index]


def labels(domain, n, size, tensor):
    """The domain of n samples, in the form that an input has."""
    if tensor is None:
        return np.full(n, domain, "int32")
    dtype, shape = tensor.dtype, tuple(tensor.shape)
    if len(shape) == 2 and shape[1] not in (1, None):
        return np.tile(np.eye(shape[1], dtype=dtype)[domain], (n, 1))
    return np.full((n, *[1] * (len(shape) - 1)), domain, dtype)


def joined(batch, place, names, domain):
    """All inputs of the model, of which `names` are the names."""
    if isinstance(batch, dict):
        name = names[place] if names and place not in names else place
        if not isinstance(name, str):
            raise errors.received(
                "`domain_input` must be a name where `inputs` is a dict.",
                domain_input=name,
                inputs=list(batch),
            )
        return {**batch, name: domain}
    given = list(batch) if isinstance(batch, (list, tuple)) else [batch]
    if isinstance(place, str):
        others = [name for name in names or [] if name != place]
        if len(others) != len(given):
            raise errors.received(
                "`inputs` must be a dict where the inputs of the model have "
                "names.",
                names=names or [place],
                number=len(given),
            )
        return {**dict(zip(others, given, strict=True)), place: domain}
    given.insert(len(given) if place == -1 else place, domain)
    return given
