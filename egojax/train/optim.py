"""Optimisers by name, learning rates over time, and a running mean of weights."""

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
    decay: float = 1.0  # Times the weight decay.


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """How weights move."""

    name: Literal["adam", "sgd"] = "adam"  # adam with weight decay is AdamW.
    learning_rate: float = 1e-3  # Its largest value.
    warmup_steps: int = 0  # Up to the largest value, linearly,
    warmup_share: float = 0.0  # from this share of it.
    decay_steps: int = 0  # Then down to `final_share` by a cosine; 0 = constant.
    final_share: float = 0.0
    decay_pieces: int = 0  # The cosine in so many constant pieces; 0 = smooth.
    # In place of the cosine (1 - step / decay_steps) to this power, counted from step 0
    # on and times the warm-up; 0 = the cosine.
    decay_power: float = 0.0
    eps: float = 1e-8  # Of adam.
    groups: tuple[Group, ...] = ()  # The first one that matches a weight counts.
    weight_decay: float = 0.0
    momentum: float = 0.0  # Only for sgd.
    clip_norm: float = 0.0  # Largest norm of the whole gradient; 0 = any.
    # The trained model is a running mean of weights, which forgets no faster than by
    # this share; 0 = the last weights.
    mean_share: float = 0.0
    mean_after: int = 1500  # Until then it is a copy;
    mean_every: int = 10  # it moves once in so many steps.


class RunningMean(NamedTuple):
    """State of an optimiser that also keeps a running mean of weights."""

    inner: Any
    calls: jax.Array  # int32 ()
    mean: Any  # Like the weights.


def make_schedule(config: OptimConfig) -> optax.Schedule:
    """The learning rate as a function of the step."""
    top = config.learning_rate
    if config.decay_power:
        return _polynomial(config)
    after = optax.constant_schedule(top)
    if config.decay_steps:
        after = optax.cosine_decay_schedule(top, config.decay_steps, config.final_share)
        if config.decay_pieces:
            after = _in_pieces(after, config.decay_steps, config.decay_pieces)
    if not config.warmup_steps:
        return after
    up = optax.linear_schedule(config.warmup_share * top, top, config.warmup_steps)
    return optax.join_schedules([up, after], [config.warmup_steps])


def _polynomial(config: OptimConfig) -> optax.Schedule:
    """Source: detectron2, `WarmupPolyLR`."""

    def schedule(step: Any) -> Any:
        at = jnp.asarray(step, jnp.float32)
        left = jnp.maximum(1 - at / config.decay_steps, 0.0) ** config.decay_power
        risen = jnp.minimum(at / max(config.warmup_steps, 1), 1.0)
        risen = risen if config.warmup_steps else 1.0
        share = config.warmup_share
        return config.learning_rate * (share * (1 - risen) + risen) * left

    return schedule


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
    tx = _moving(config)
    if not config.mean_share:
        return tx
    return with_mean(
        tx, config.mean_share, after=config.mean_after, every=config.mean_every
    )


def _moving(config: OptimConfig) -> optax.GradientTransformation:
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

    decay = config.weight_decay * group.decay
    if config.name == "adam":
        return optax.adamw(rate, eps=group.eps, weight_decay=decay)
    return optax.chain(
        optax.add_decayed_weights(decay),
        optax.sgd(rate, momentum=config.momentum or None),
    )


def with_mean(
    tx: optax.GradientTransformation, share: float, *, after: int, every: int
) -> optax.GradientTransformation:
    """The same steps, and a running mean of the weights that they lead to.

    Of calls s = 0, 1, ... those count that divide by `every`. Up to call `after`, and
    at the next one that counts, the mean is a copy of the weights; then it keeps
    1 - (1 + s - after)^(-2/3) of itself, but no more than `share`.

    Source: LRTL, `ema.py`, which is P. Wang's `ema-pytorch`. What a network keeps
    beside its weights is not averaged.
    """

    def init(params: Any) -> RunningMean:
        # A copy: the state is donated, and must not hold an array twice.
        mean = jax.tree.map(jnp.copy, params)
        return RunningMean(tx.init(params), jnp.zeros((), jnp.int32), mean)

    def update(updates: Any, state: Any, params: Any = None) -> tuple:
        updates, inner = tx.update(updates, state.inner, params)
        since = state.calls - after
        kept = jnp.minimum(
            1 - (1 + jnp.maximum(since, 0).astype(jnp.float32)) ** (-2 / 3), share
        )
        kept = jnp.where(since <= every, 0.0, kept)
        kept = jnp.where(state.calls % every == 0, kept, 1.0)
        weights = optax.apply_updates(params, updates)
        mean = jax.tree.map(
            lambda old, new: (kept * old + (1 - kept) * new).astype(old.dtype),
            *(state.mean, weights),
        )
        return updates, RunningMean(inner, state.calls + 1, mean)

    return optax.GradientTransformation(init, update)


def trained_params(opt_state: Any, params: Any) -> Any:
    """The weights that training is for: their running mean, or the weights as is."""
    return opt_state.mean if isinstance(opt_state, RunningMean) else params


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
        *("weight_decay", "clip_norm", "warmup_share", "decay_power", "mean_after"),
    ):
        if not getattr(config, name) >= 0:
            problems.append(f"optim.{name} = {getattr(config, name)}: must be >= 0")
    for group in (config, *config.groups):
        if not group.eps > 0:
            problems.append(f"optim.eps = {group.eps}: must be > 0")
    for name in ("momentum", "mean_share"):
        if not 0 <= getattr(config, name) < 1:
            problems.append(f"optim.{name} = {getattr(config, name)}: not in [0, 1)")
    if config.mean_every < 1:
        problems.append(f"optim.mean_every = {config.mean_every}: must be > 0")
    if config.decay_power and not config.decay_steps:
        problems.append("optim.decay_power: needs decay_steps")
    if config.decay_power and (config.final_share or config.decay_pieces):
        problems.append("optim.decay_power: has no final_share or decay_pieces")
    if problems:
        raise UsageError.from_problems(problems)
