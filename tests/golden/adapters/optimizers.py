"""Optimizers: from a row to the optimizer that its program ran.

And the formula of the oracles for it: f(row) -> what takes a step of one
parameter, given which axes its output neurons reduce.
"""

import keras
import numpy as np

import keras_norm as kn
from oracles import gradients as oracle


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


def _is_adam(config):
    return "betas" in config


def centralize(row, **changed):
    """The program of Adam centres its direction unless `gc_loc`."""
    config = row.config
    if _is_adam(config):
        # Keras' Adam adds epsilon to the root of the uncorrected mean.
        inner = kn.optimizers.LAMB(
            config["lr"],
            *config["betas"],
            row.epsilon,
            exclude_from_adaptation=lambda variable: True,
        )
    else:
        inner = keras.optimizers.SGD(
            config["lr"], config["momentum"], config["nesterov"]
        )
    update = _is_adam(config) and not config["gc_loc"]
    transform = kn.optimizers.centralize(config["gc_conv_only"])
    arguments = {
        "location": "update" if update else "gradient",
        "l2": config["weight_decay"],
    }
    return kn.optimizers.GradientTransform(
        inner, transform, **{**arguments, **changed}
    )


def centralize_formula(row, reduced):
    config = row.config

    def rule(g, w):
        vector = not reduced or (config["gc_conv_only"] and g.ndim < 4)
        return g if vector else oracle.centralized(g, reduced)

    if _is_adam(config):
        return oracle.Adam(
            config["lr"],
            config["weight_decay"],
            rule,
            betas=config["betas"],
            epsilon=row.epsilon,
        )
    return oracle.SGD(
        config["lr"], config["momentum"], config["weight_decay"], rule
    )


def adaptive_clip(row, **changed):
    then = row.config["then"]
    inner = keras.optimizers.SGD(
        then["learning_rate"], then["momentum"], then["nesterov"]
    )
    arguments = {
        "clipping": row.config["clipping"],
        "epsilon": row.epsilon,
    }
    return kn.optimizers.GradientTransform(
        inner, kn.optimizers.adaptive_clip(**{**arguments, **changed})
    )


def adaptive_clip_formula(row, reduced):
    then, clipping = row.config["then"], row.config["clipping"]

    def rule(g, w):
        return oracle.clipped(g, w, reduced or None, clipping, row.epsilon)

    return oracle.SGD(then["learning_rate"], then["momentum"], rule=rule)


def _is_optax(config):
    return "learning_rate" in config


def _rate(config):
    return config["learning_rate" if _is_optax(config) else "lr"]


def lars(row, **changed):
    """All parameters decay and adapt."""
    config = row.config
    optax = _is_optax(config)
    arguments = {
        "learning_rate": _rate(config),
        "momentum": config["momentum"],
        "l2": config["weight_decay"],
        "trust_coefficient": config[
            "trust_coefficient" if optax else "trust_coeff"
        ],
        "epsilon": row.epsilon,
        "nesterov": config["nesterov"],
        "trust_clip": config.get("trust_clip", False),
        "denominator": "norm_of_sum" if optax else "sum",
        "rate_position": "before" if optax else "after",
        "exclude_from_adaptation": [],
        "exclude_from_decay": [],
    }
    return kn.optimizers.LARS(**{**arguments, **changed})


def lars_formula(row, reduced):
    made = lars(row)
    return oracle.LARS(
        [_rate(row.config)] * len(row.inputs),
        made.momentum,
        made.l2,
        made.trust_coefficient,
        made.epsilon,
        made.nesterov,
        made.trust_clip,
        made.denominator,
        made.rate_position,
    )


def lamb(row, **changed):
    """All parameters decay and adapt."""
    config = row.config
    optax = _is_optax(config)
    betas = (config["b1"], config["b2"]) if optax else config["betas"]
    arguments = {
        "learning_rate": _rate(config),
        "beta_1": betas[0],
        "beta_2": betas[1],
        "epsilon": row.epsilon,
        "decay": config["weight_decay"],
        "bias_correction": config.get("bias_correction", True),
        "gradient_averaging": config.get("grad_averaging", True),
        "global_clipnorm": config.get("max_grad_norm"),
        "exclude_from_adaptation": [],
        "exclude_from_decay": [],
    }
    return kn.optimizers.LAMB(**{**arguments, **changed})


def lamb_formula(row, reduced):
    config = row.config
    made = lamb(row)
    return oracle.LAMB(
        _rate(config),
        made.decay,
        betas=(made.beta_1, made.beta_2),
        epsilon=made.epsilon,
        corrected=made.bias_correction,
        averaging=made.gradient_averaging,
    )


# {method: f(row, changed arguments)}
OPTIMIZERS = {
    "optimizers.CayleyAdam": cayley_adam,
    "optimizers.CayleySGD": cayley_sgd,
    "optimizers.LAMB": lamb,
    "optimizers.LARS": lars,
    "optimizers.adaptive_clip": adaptive_clip,
    "optimizers.centralize": centralize,
}
# {method: f(row, reduced axes)}
FORMULAS = {
    "optimizers.LAMB": lamb_formula,
    "optimizers.LARS": lars_formula,
    "optimizers.adaptive_clip": adaptive_clip_formula,
    "optimizers.centralize": centralize_formula,
}


def clip_all(row, gradients):
    """Clipping of all gradients together, which some programs begin with."""
    largest = row.config.get("max_grad_norm")
    if largest is None:
        return gradients
    total = np.sqrt(sum(np.sum(g**2) for g in gradients))
    return [g / max(total / largest, 1.0) for g in gradients]
