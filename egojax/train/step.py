"""The one training step: gradients of a loss, on a mesh, with what must stay finite."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jax import lax
from jax.sharding import Mesh

from egojax.errors import UsageError
from egojax.metrics import Mean
from egojax.task import Batch, Block
from egojax.train.mesh import Rules, lay_out, path_name, split, whole

# What is logged: means, or plain numbers that are means of the batch already.
Loss = Callable[[nnx.Module, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]


@struct.dataclass
class TrainState:
    """All that changes in training; a pytree. Trees of weights are plain dicts."""

    step: jax.Array  # int32 (): steps done.
    params: Any
    rest: Any  # What the model keeps beside its weights, such as running means.
    opt_state: Any


class Plan(NamedTuple):
    """A model's structure, and where its state lies."""

    graphdef: Any
    like: TrainState  # Shapes.
    shardings: TrainState


def make_plan(
    init: Callable[[jax.Array], nnx.Module],
    tx: optax.GradientTransformation,
    mesh: Mesh,
    rules: Rules = (),
) -> Plan:
    """Finds the structure of the state and its layout; computes nothing."""
    key = jax.random.key(0)
    graphdef = nnx.split(nnx.eval_shape(lambda: init(key)))[0]
    like = jax.eval_shape(lambda: _fresh_state(init, key, tx))
    return Plan(graphdef, like, lay_out(like, mesh, rules))


def start(
    init: Callable[[jax.Array], nnx.Module],
    key: jax.Array,
    tx: optax.GradientTransformation,
    plan: Plan,
) -> TrainState:
    """The state before the first step, made where it will lie."""
    make = jax.jit(
        lambda key: _fresh_state(init, key, tx), out_shardings=plan.shardings
    )
    return make(key)


def _fresh_state(
    init: Callable[[jax.Array], nnx.Module],
    key: jax.Array,
    tx: optax.GradientTransformation,
) -> TrainState:
    _, params, rest = nnx.split(init(key), nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    return TrainState(jnp.zeros((), jnp.int32), params, rest, tx.init(params))


def make_train_step(
    loss_fn: Loss,
    plan: Plan,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    *,
    pieces: int = 1,
) -> Callable[..., Any]:
    """Returns step(state, block, key) -> (state, logs, finite), compiled for `mesh`.

    It takes all steps of the block. `logs` has a first axis of steps, and so has
    `finite`: a boolean for each of `guarded_terms`. The state that is given is donated:
    it must not be used again.

    With `pieces` > 1 a batch is cut into so many along its first axis, each with noise
    of its own, and their gradients are averaged: the memory of one piece suffices.
    Where the loss is a mean over the batch, it is the same step.

    Raises (when it is traced):
      UsageError: a batch cannot be cut into so many pieces.
    """
    everywhere = whole(mesh)
    gradients = _make_gradients(loss_fn, plan, pieces)

    def one(state: TrainState, batch: Batch, shared: Any, key: jax.Array) -> tuple:
        key = jax.random.fold_in(key, state.step)  # A resumed run sees the same noise.
        grads, rest, logs = gradients(state, batch, shared, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        logs = {"grad_norm": Mean.of(optax.tree.norm(grads)), **logs}
        finite = jnp.stack(
            [jnp.isfinite(logs[name].total) for name in sorted(logs)]
            + [jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]
        )
        return TrainState(state.step + 1, params, rest, opt_state), (logs, finite)

    def steps(state: TrainState, block: Block, key: jax.Array) -> tuple:
        if all(len(leaf) == 1 for leaf in jax.tree.leaves(block.batches)):
            # Not a loop of one: in loops, XLA for CPUs (jax 0.10) takes more than ten
            # times as long for convolutions.
            batch = jax.tree.map(lambda leaf: leaf[0], block.batches)
            state, told = one(state, batch, block.shared, key)
            return state, *jax.tree.map(lambda leaf: leaf[None], told)
        state, (logs, finite) = lax.scan(
            lambda state, batch: one(state, batch, block.shared, key),
            state,
            block.batches,
        )
        return state, logs, finite

    return jax.jit(
        steps,
        donate_argnums=0,
        in_shardings=(plan.shardings, Block(split(mesh, 1), everywhere), everywhere),
        out_shardings=(plan.shardings, everywhere, everywhere),
    )


def _make_gradients(loss_fn: Loss, plan: Plan, pieces: int) -> Callable[..., tuple]:
    """Returns gradients(state, batch, shared, key) -> (grads, rest, logs)."""

    def objective(
        params: Any, rest: Any, batch: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple]:
        # copy=True: BatchNorm writes to `rest`; the write must stay in this trace.
        model = nnx.merge(plan.graphdef, params, rest, copy=True)
        loss, logs = loss_fn(model, batch, key)
        logs = {"loss": loss, **logs}
        logs = {k: v if isinstance(v, Mean) else Mean.of(v) for k, v in logs.items()}
        _, _, rest = nnx.split(model, nnx.Param, ...)
        return loss, (nnx.to_pure_dict(rest), logs)

    slope = jax.grad(objective, has_aux=True)

    def gradients(
        state: TrainState, batch: Batch, shared: Any, key: jax.Array
    ) -> tuple:
        def seen(batch: Batch) -> Any:
            return batch if shared is None else (batch, shared)

        def add(carry: tuple, piece: tuple) -> tuple:
            total, rest = carry
            batch, number = piece
            noise = jax.random.fold_in(key, number)
            grads, (rest, logs) = slope(state.params, rest, seen(batch), noise)
            return (jax.tree.map(jnp.add, total, grads), rest), logs

        if pieces == 1:
            grads, (rest, logs) = slope(state.params, state.rest, seen(batch), key)
            return grads, rest, logs
        start = jax.tree.map(jnp.zeros_like, state.params), state.rest
        cut = _cut(batch, pieces), jnp.arange(pieces)
        (grads, rest), logs = lax.scan(add, start, cut)
        # A mean of all pieces is the sum of their totals over that of their weights.
        logs = jax.tree.map(lambda leaf: leaf.sum(0), logs)
        return jax.tree.map(lambda g: g / pieces, grads), rest, logs

    return gradients


def _cut(batch: Batch, pieces: int) -> Batch:
    """(B, ...) as (pieces, B / pieces, ...): every `pieces`th row is in one piece.

    So each piece is spread over the devices as the batch was.
    """

    def cut(leaf: jax.Array) -> jax.Array:
        if len(leaf) % pieces:
            raise UsageError(
                f"a batch of {len(leaf)} cannot be cut into {pieces} pieces"
            )
        rows = leaf.reshape(len(leaf) // pieces, pieces, *leaf.shape[1:])
        return jnp.moveaxis(rows, 1, 0)

    return jax.tree.map(cut, batch)


def guarded_terms(logs: dict[str, Mean], params: Any) -> list[str]:
    """What the entries of a step's `finite` are about."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sorted(logs) + [f"the gradient of {path_name(path)}" for path, _ in leaves]
