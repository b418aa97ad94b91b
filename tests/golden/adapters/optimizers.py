"""Optimizers: from a row to the optimizer that its program ran."""

import keras_norm as kn


def _cayley(config):
    probability = config["qr_probability"]
    every = round(1 / probability) if probability else None
    return {
        "learning_rate": config["lr"],
        "cayley_steps": config["iterations"],
        "q": config["q"],
        "reorthogonalize_every": every,
        "polish": False,
    }


def cayley_sgd(row, **changed):
    arguments = {**_cayley(row.config), "momentum": row.config["momentum"]}
    return kn.optimizers.CayleySGD(**{**arguments, **changed})


def cayley_adam(row, **changed):
    arguments = {
        **_cayley(row.config),
        "beta_1": row.config["momentum"],
        "beta_2": row.config["beta2"],
        "epsilon": row.epsilon,
    }
    return kn.optimizers.CayleyAdam(**{**arguments, **changed})


# {method: f(row, changed arguments)}
OPTIMIZERS = {
    "optimizers.CayleyAdam": cayley_adam,
    "optimizers.CayleySGD": cayley_sgd,
}
