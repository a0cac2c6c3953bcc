"""Optimisers by name."""

import dataclasses
from typing import Literal

import optax

from egojax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """How weights move."""

    name: Literal["adam", "sgd"] = "adam"  # adam with weight decay is AdamW.
    learning_rate: float = 1e-3  # Its largest value.
    warmup_steps: int = 0  # From 0 up to the largest value, linearly.
    decay_steps: int = 0  # Then down to `final_share` by a cosine; 0 = constant.
    final_share: float = 0.0
    weight_decay: float = 0.0
    momentum: float = 0.0  # Only for sgd.
    clip_norm: float = 0.0  # Largest norm of the whole gradient; 0 = any.


def make_schedule(config: OptimConfig) -> optax.Schedule:
    """The learning rate as a function of the step."""
    top = config.learning_rate
    after = optax.constant_schedule(top)
    if config.decay_steps:
        after = optax.cosine_decay_schedule(top, config.decay_steps, config.final_share)
    if not config.warmup_steps:
        return after
    up = optax.linear_schedule(0.0, top, config.warmup_steps)
    return optax.join_schedules([up, after], [config.warmup_steps])


def make_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Returns the optax transformation.

    Raises:
      UsageError: a setting is out of range.
    """
    _check(config)
    rate = make_schedule(config)
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.name == "adam":
        parts.append(optax.adamw(rate, weight_decay=config.weight_decay))
    else:
        parts.append(optax.add_decayed_weights(config.weight_decay))
        parts.append(optax.sgd(rate, momentum=config.momentum or None))
    return optax.chain(*parts)


def _check(config: OptimConfig) -> None:
    problems = []
    if config.name not in ("adam", "sgd"):
        problems.append(f"optim.name = {config.name!r}: expected adam or sgd")
    if not config.learning_rate > 0:
        problems.append(f"optim.learning_rate = {config.learning_rate}: must be > 0")
    for name in ("warmup_steps", "decay_steps", "weight_decay", "clip_norm"):
        if not getattr(config, name) >= 0:
            problems.append(f"optim.{name} = {getattr(config, name)}: must be >= 0")
    if not 0 <= config.momentum < 1:
        problems.append(f"optim.momentum = {config.momentum}: must be in [0, 1)")
    if problems:
        raise UsageError.from_problems(problems)
