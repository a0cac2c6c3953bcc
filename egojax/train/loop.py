"""The one training loop: steps on a mesh, logged, checkpointed, resumable.

A run that was killed and started again goes on at its last checkpoint and ends with the
weights of a run that never stopped: the noise of a step comes from its number, and so
does its batch.
"""

import contextlib
import dataclasses
import itertools
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jax.sharding import Mesh

from egojax.errors import UsageError
from egojax.metrics import Mean
from egojax.train.checkpoint import Checkpoints
from egojax.train.log import TrainLog
from egojax.train.mesh import Rules, lay_out, path_name, put_batch, split, whole

Batch = Any
# What is logged: means, or plain numbers that are means of the batch already.
Loss = Callable[[nnx.Module, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]


class Trainable(Protocol):
    """What is trained; a `task.Task` that learns is one."""

    @property
    def init(self) -> Callable[[jax.Array], nnx.Module] | None: ...
    @property
    def loss(self) -> Loss | None: ...


class BatchesFrom(Protocol):
    """`batches(first)` yields the batches of the steps first, first + 1, ...

    The batch of a step must not depend on `first`.
    """

    def __call__(self, first: int) -> Iterator[Batch]: ...


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How long to train, and how often to tell and to save (all in steps)."""

    steps: int
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 100
    keep: int = 3  # Checkpoints.


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


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, after a checkpoint: the same command continues."""


class NonFiniteError(FloatingPointError):
    """A loss or gradient is NaN or infinite; names the term and the step."""


def batches_by_skipping(make: Callable[[], Iterator[Batch]]) -> BatchesFrom:
    """Batches from an iterator that always starts at step 0; a resumed run skips."""
    return lambda first: itertools.islice(make(), first, None)


def fit(
    task: Trainable,
    batches: BatchesFrom,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    config: FitConfig,
    folder: pathlib.Path,
    *,
    rules: Rules = (),
    progress: Callable[[int, int], None] | None = None,
) -> nnx.Module:
    """Trains, from the last checkpoint in the folder if there is one.

    Args:
      task: Makes a model, and its loss with the numbers to log.
      batches: See `BatchesFrom`. The first axis of all arrays is split over devices.
      tx: The optimiser.
      mesh: The devices (`mesh.make_mesh`).
      config: See there.
      folder: checkpoints/, log.jsonl and tensorboard/ are written here.
      rules: Weights that are not to be whole on every device.
      progress: Told the steps done and the steps in all.

    Returns:
      The trained model.

    Raises:
      Interrupted: SIGINT or SIGTERM came; a checkpoint was written.
      NonFiniteError: a loss, a logged term or a gradient was not finite. No checkpoint
        holds its consequences.
      UsageError: the folder's checkpoint is of another model, optimiser or seed; the
        batches do not fit the devices, or end too early.
    """
    init, loss = task.init, task.loss
    if init is None or loss is None:
        raise UsageError("this job learns nothing: it has no weights or no loss")
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    plan = make_plan(init, tx, mesh, rules)
    with (
        Checkpoints(folder / "checkpoints", config.keep) as checkpoints,
        stop_signals() as stop,
    ):
        run = _Run(config, checkpoints, plan)
        state = run.restore()
        if state is None:
            state = start(init, init_key, tx, plan)
        step_fn = make_train_step(loss, plan, tx, mesh)
        with TrainLog(folder, run.done) as log:
            source = batches(run.done)
            while run.done < config.steps:
                batch = put_batch(_next(source, run.done, config.steps), mesh)
                state, logs, finite = step_fn(state, batch, step_key)
                run.advance(logs, finite)
                run.report(log, state, progress)
                if stop.is_set() and run.done < config.steps:
                    run.save(state)
                    raise Interrupted(f"stopped after step {run.done}")
        run.save(state)
    return nnx.merge(plan.graphdef, state.params, state.rest)


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
    """Returns step(state, batch, key) -> (state, logs, finite), compiled for `mesh`.

    `finite` holds a boolean for each of `guarded_terms`. The state that is given is
    donated: it must not be used again.
    """
    everywhere = whole(mesh)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple:
        key = jax.random.fold_in(key, state.step)  # A resumed run sees the same noise.

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
        return TrainState(state.step + 1, params, rest, opt_state), logs, finite

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(plan.shardings, split(mesh), everywhere),
        out_shardings=(plan.shardings, everywhere, everywhere),
    )


def guarded_terms(logs: dict[str, Mean], params: Any) -> list[str]:
    """What the entries of a step's `finite` are about."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sorted(logs) + [f"the gradient of {path_name(path)}" for path, _ in leaves]


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Within, the first SIGINT or SIGTERM only sets the event; a second one acts.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def on_signal(*_: Any) -> None:
        stop.set()
        restore()

    for kind in kinds:
        signal.signal(kind, on_signal)
    try:
        yield stop
    finally:
        restore()


def _next(source: Iterator[Batch], step: int, steps: int) -> Batch:
    for batch in source:
        return batch
    raise UsageError(f"the batches ended at step {step} of {steps}: give more data")


class _Run:
    """How far a run has come, and what it has not yet told."""

    def __init__(self, config: FitConfig, checkpoints: Checkpoints, plan: Plan):
        self.done = 0
        self._config, self._checkpoints, self._plan = config, checkpoints, plan
        self._sums: dict[str, list[float]] = {}  # Name -> total, weight.
        self._waiting: list[tuple[int, Any, jax.Array]] = []  # On the devices.
        self._told = (0, time.monotonic())

    def restore(self) -> TrainState | None:
        """The state of the newest checkpoint, if there is one."""
        newest = self._checkpoints.latest()
        if newest is None:
            return None
        state, meta = self._checkpoints.restore(
            newest, self._plan.like, self._plan.shardings
        )
        if meta["seed"] != self._config.seed:
            raise UsageError(
                f"the checkpoint of step {newest} was made with seed {meta['seed']}, "
                f"this run has {self._config.seed}; use another --workdir"
            )
        self.done, self._sums = newest, meta["sums"]
        self._told = (newest, time.monotonic())
        return state

    def advance(self, logs: dict[str, Mean], finite: jax.Array) -> None:
        """Counts a step. Looks at the one before: this one may still be computing."""
        self.done += 1
        self._waiting.append((self.done, logs, finite))
        if len(self._waiting) > 1:
            self._check(self._waiting[-2])

    def report(
        self,
        log: TrainLog,
        state: TrainState,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Logs and saves, where it is time to."""
        last = self.done == self._config.steps
        if last or self.done % self._config.log_every == 0:
            self._collect()
            means = {
                name: t / w if w else jnp.nan for name, (t, w) in self._sums.items()
            }
            steps, since = self.done - self._told[0], self._told[1]
            self._told = (self.done, time.monotonic())
            rate = steps / max(self._told[1] - since, 1e-9)
            log.write(self.done, {**means, "steps_per_second": rate})
            self._sums = {}
        if self.done % self._config.checkpoint_every == 0:
            self.save(state)
        if progress is not None:
            progress(self.done, self._config.steps)

    def save(self, state: TrainState) -> None:
        """Saves a state that is known to be finite."""
        self._collect()
        meta = {"seed": self._config.seed, "sums": self._sums}
        self._checkpoints.save(self.done, state, meta)

    def _collect(self) -> None:
        """Fetches the numbers of all steps so far and adds them up, in order."""
        for entry in self._waiting:
            self._check(entry)
        for logs in jax.device_get([logs for _, logs, _ in self._waiting]):
            for name, mean in sorted(logs.items()):
                total, weight = self._sums.get(name, (0.0, 0.0))
                sums = [total + float(mean.total), weight + float(mean.weight)]
                self._sums[name] = sums
        self._waiting = []

    def _check(self, entry: tuple[int, Any, jax.Array]) -> None:
        step, logs, finite = entry
        flags = jax.device_get(finite)
        if flags.all():
            return
        names = guarded_terms(logs, self._plan.like.params)
        bad = [name for name, ok in zip(names, flags, strict=True) if not ok]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise NonFiniteError(f"step {step}: {bad[0]} is not finite{more}")
