"""Optimisers by name."""

import dataclasses
import re
from collections.abc import Hashable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from egojax.errors import UsageError
from egojax.train.mesh import path_name


class Group(NamedTuple):
    """Weights that move in another way."""

    pattern: str  # Searched in the paths of weights.
    rate: float  # Times the learning rate.
    eps: float = 1e-8


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """How weights move."""

    name: Literal["adam", "sgd"] = "adam"  # adam with weight decay is AdamW.
    learning_rate: float = 1e-3  # Its largest value.
    warmup_steps: int = 0  # From 0 up to the largest value, linearly.
    decay_steps: int = 0  # Then down to `final_share` by a cosine; 0 = constant.
    final_share: float = 0.0
    decay_pieces: int = 0  # The cosine in so many constant pieces; 0 = smooth.
    eps: float = 1e-8  # Of adam.
    groups: tuple[Group, ...] = ()  # The first one that matches a weight counts.
    weight_decay: float = 0.0
    momentum: float = 0.0  # Only for sgd.
    clip_norm: float = 0.0  # Largest norm of the whole gradient; 0 = any.


def make_schedule(config: OptimConfig) -> optax.Schedule:
    """The learning rate as a function of the step."""
    top = config.learning_rate
    after = optax.constant_schedule(top)
    if config.decay_steps:
        after = optax.cosine_decay_schedule(top, config.decay_steps, config.final_share)
        if config.decay_pieces:
            after = _in_pieces(after, config.decay_steps, config.decay_pieces)
    if not config.warmup_steps:
        return after
    up = optax.linear_schedule(0.0, top, config.warmup_steps)
    return optax.join_schedules([up, after], [config.warmup_steps])


def _in_pieces(smooth: optax.Schedule, steps: int, pieces: int) -> optax.Schedule:
    """The value that each piece begins with."""
    count = np.arange(pieces + 1)
    first = jnp.asarray(-(-count * steps // pieces)[1:])  # Steps that begin a piece.
    values = jnp.asarray(smooth(jnp.asarray(count * steps / pieces, jnp.float32)))

    def schedule(step: Any) -> Any:
        return values[jnp.searchsorted(first, jnp.asarray(step), side="right")]

    return schedule


def make_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Returns the optax transformation.

    Raises:
      UsageError: a setting is out of range.
    """
    _check(config)
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    rest = Group("", 1.0, config.eps)
    if not config.groups:
        return optax.chain(*parts, _mover(config, rest))
    movers: dict[Hashable, optax.GradientTransformation] = {
        str(k): _mover(config, group) for k, group in enumerate((*config.groups, rest))
    }
    parts.append(optax.multi_transform(movers, lambda tree: _labels(config, tree)))
    return optax.chain(*parts)


def _mover(config: OptimConfig, group: Group) -> optax.GradientTransformation:
    schedule = make_schedule(config)

    def rate(step: Any) -> Any:
        return group.rate * schedule(step)

    if config.name == "adam":
        return optax.adamw(rate, eps=group.eps, weight_decay=config.weight_decay)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(rate, momentum=config.momentum or None),
    )


def _labels(config: OptimConfig, tree: Any) -> Any:
    """Of each weight the number of its group; the last one is for all others.

    Raises:
      UsageError: a group is of no weight.
    """
    unused = set(range(len(config.groups)))

    def label(path: tuple, leaf: Any) -> str:
        del leaf
        name = path_name(path)
        for k, group in enumerate(config.groups):
            if re.search(group.pattern, name):
                unused.discard(k)
                return str(k)
        return str(len(config.groups))

    labels = jax.tree_util.tree_map_with_path(label, tree)
    if unused:
        names = ", ".join(repr(config.groups[k].pattern) for k in sorted(unused))
        raise UsageError(f"optim.groups: {names} matches no weight")
    return labels


def _check(config: OptimConfig) -> None:
    problems = []
    if config.name not in ("adam", "sgd"):
        problems.append(f"optim.name = {config.name!r}: expected adam or sgd")
    if not config.learning_rate > 0:
        problems.append(f"optim.learning_rate = {config.learning_rate}: must be > 0")
    for name in (
        *("warmup_steps", "decay_steps", "decay_pieces"),
        *("weight_decay", "clip_norm"),
    ):
        if not getattr(config, name) >= 0:
            problems.append(f"optim.{name} = {getattr(config, name)}: must be >= 0")
    for group in (config, *config.groups):
        if not group.eps > 0:
            problems.append(f"optim.eps = {group.eps}: must be > 0")
    if not 0 <= config.momentum < 1:
        problems.append(f"optim.momentum = {config.momentum}: must be in [0, 1)")
    if problems:
        raise UsageError.from_problems(problems)
