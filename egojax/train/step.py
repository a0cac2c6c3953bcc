"""The one training step: gradients of a loss, on a mesh, with what must stay finite."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jax import lax
from jax.sharding import Mesh

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
    loss_fn: Loss, plan: Plan, tx: optax.GradientTransformation, mesh: Mesh
) -> Callable[..., Any]:
    """Returns step(state, block, key) -> (state, logs, finite), compiled for `mesh`.

    It takes all steps of the block. `logs` has a first axis of steps, and so has
    `finite`: a boolean for each of `guarded_terms`. The state that is given is donated:
    it must not be used again.
    """
    everywhere = whole(mesh)

    def one(state: TrainState, batch: Batch, shared: Any, key: jax.Array) -> tuple:
        key = jax.random.fold_in(key, state.step)  # A resumed run sees the same noise.
        batch = batch if shared is None else (batch, shared)

        def objective(params: Any) -> tuple[jax.Array, tuple]:
            # copy=True: BatchNorm writes to `rest`; the write must stay in this trace.
            model = nnx.merge(plan.graphdef, params, state.rest, copy=True)
            loss, logs = loss_fn(model, batch, key)
            _, _, rest = nnx.split(model, nnx.Param, ...)
            return loss, (logs, nnx.to_pure_dict(rest))

        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (loss, (logs, rest)), grads = value_and_grad(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(grads)
        logs = {"loss": loss, "grad_norm": norm, **logs}
        logs = {k: v if isinstance(v, Mean) else Mean.of(v) for k, v in logs.items()}
        finite = jnp.stack(
            [jnp.isfinite(logs[name].total) for name in sorted(logs)]
            + [jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]
        )
        return TrainState(state.step + 1, params, rest, opt_state), (logs, finite)

    def steps(state: TrainState, block: Block, key: jax.Array) -> tuple:
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


def guarded_terms(logs: dict[str, Mean], params: Any) -> list[str]:
    """What the entries of a step's `finite` are about."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sorted(logs) + [f"the gradient of {path_name(path)}" for path, _ in leaves]
