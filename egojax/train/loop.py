"""The one training loop: steps on a mesh, logged, checkpointed, resumable.

A run that was killed and started again goes on at its last checkpoint and ends with the
weights of a run that never stopped: the noise of a step comes from its number, and so
does its batch.

Several processes (`distributed.joined`) call `fit` with the same arguments: each reads
all batches and computes its part of them. A signal to one stops all at the same step,
which may be one dispatch later.
"""

import contextlib
import dataclasses
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from egojax.errors import UsageError
from egojax.metrics import Mean
from egojax.task import Batch, Block
from egojax.train.checkpoint import Checkpoints
from egojax.train.distributed import StopVote, here, is_first
from egojax.train.log import Evaluation, TrainLog
from egojax.train.mesh import Rules, put_block, whole
from egojax.train.optim import trained_params
from egojax.train.step import (
    Loss,
    Plan,
    TrainState,
    guarded_terms,
    make_plan,
    make_train_step,
    start,
)


class Trainable(Protocol):
    """What is trained; a `task.Task` that learns is one."""

    @property
    def init(self) -> Callable[[jax.Array], nnx.Module] | None: ...
    @property
    def loss(self) -> Loss | None: ...


class BatchesFrom(Protocol):
    """`batches(first)` yields the batches of the steps first, first + 1, ...

    Or blocks of them. What a step sees must not depend on `first`.
    """

    def __call__(self, first: int) -> Iterator[Batch | Block]: ...


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How long to train, and how often to tell and to save (all in steps)."""

    steps: int
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 100
    keep: int = 3  # Checkpoints.
    pieces: int = 1  # In which the gradient of a batch is found: for less memory.
    evaluate_every: int = 0  # And after the first block; 0 = never.


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, after a checkpoint: the same command continues."""


class NonFiniteError(UsageError):
    """A loss or gradient is NaN or infinite; names the term and the step."""


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
    evaluate: Callable[[nnx.Module], Evaluation] | None = None,
) -> nnx.Module:
    """Trains, from the last checkpoint in the folder if there is one.

    Args:
      task: Makes a model, and its loss with the numbers to log.
      batches: See `BatchesFrom`. The first axis of a batch is split over devices. A
        block is one dispatch: logs, checkpoints and signals wait for its end.
      tx: The optimiser.
      mesh: The devices (`mesh.make_mesh`).
      config: See there.
      folder: checkpoints/, log.jsonl and tensorboard/ are written here.
      rules: Weights that are not to be whole on every device.
      progress: Told the steps done and the steps in all.
      evaluate: What is logged of the model as it is, by the first process. What fails
        there has failed after the first block.

    Returns:
      The trained model, whole in every process; of the running mean of its weights,
      where the optimiser keeps one.

    Raises:
      Interrupted: SIGINT or SIGTERM came; a checkpoint was written.
      NonFiniteError: a loss, a logged term or a gradient was not finite. No checkpoint
        holds its consequences.
      UsageError: not all processes see the folder; its checkpoint is of another model,
        optimiser or seed; the batches do not fit the devices, or end too early.
    """
    init, loss = task.init, task.loss
    if init is None or loss is None:
        raise UsageError("this job learns nothing: it has no weights or no loss")
    init_key, step_key = _keys(config.seed, mesh)
    plan = make_plan(init, tx, mesh, rules)
    with (
        Checkpoints(folder / "checkpoints", config.keep) as checkpoints,
        stop_signals() as stop,
    ):
        run = _Run(config, checkpoints, plan)
        state = run.restore() or start(init, init_key, tx, plan)
        step_fn = make_train_step(loss, plan, tx, mesh, pieces=config.pieces)
        is_stopped = StopVote(mesh)
        with TrainLog(folder, run.done, writes=is_first()) as log:
            source, stopped = batches(run.done), False
            while run.done < config.steps and not stopped:
                block = put_block(_next(source, run.done, config.steps), mesh)
                state, logs, finite = step_fn(state, block, step_key)
                run.advance(logs, finite)
                run.report(log, state, progress)
                if evaluate is not None:
                    run.evaluate(log, state, mesh, evaluate)
                stopped = is_stopped(stop.is_set())
        run.save(state)
        # Twice: all processes hear in the second call what one has said in the first.
        if stopped or any(is_stopped(stop.is_set()) for _ in range(2)):
            raise Interrupted(f"stopped after step {run.done}")
    return _whole(plan, state, mesh)


def _whole(plan: Plan, state: TrainState, mesh: Mesh) -> nnx.Module:
    """The model, whole in every process; of the mean of weights, where one is kept."""
    params = trained_params(state.opt_state, state.params)
    return nnx.merge(plan.graphdef, *here((params, state.rest), mesh))


def _keys(seed: int, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """Of the start and of the steps, on all devices of the mesh."""
    make = jax.jit(
        lambda: tuple(jax.random.split(jax.random.key(seed))), out_shardings=whole(mesh)
    )
    return make()


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


def _next(source: Iterator[Batch | Block], step: int, steps: int) -> Block:
    """The next block, cut where training ends."""
    found = next(source, None)
    if found is None:
        raise UsageError(f"the batches ended at step {step} of {steps}: give more data")
    if not isinstance(found, Block):
        return Block(jax.tree.map(lambda leaf: leaf[None], found))
    left = steps - step
    kept = jax.tree.map(lambda leaf: leaf[:left], found.batches)
    return found._replace(batches=kept)


class _Run:
    """How far a run has come, and what it has not yet told."""

    def __init__(self, config: FitConfig, checkpoints: Checkpoints, plan: Plan):
        self.done = self._before = 0  # Steps, and those before the last block.
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
        self.done = self._before = newest
        self._sums = meta["sums"]
        self._told = (newest, time.monotonic())
        return state

    def advance(self, logs: dict[str, Mean], finite: jax.Array) -> None:
        """Counts a block. Looks at the one before: this one may still be computing."""
        self._before, self.done = self.done, self.done + len(finite)
        self._waiting.append((self._before, logs, finite))
        if len(self._waiting) > 1:
            self._check(self._waiting[-2])

    def report(
        self,
        log: TrainLog,
        state: TrainState,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Logs and saves, where it is time to."""
        if self._passed(self._config.log_every):
            self._collect()
            means = {
                name: t / w if w else jnp.nan for name, (t, w) in self._sums.items()
            }
            steps, since = self.done - self._told[0], self._told[1]
            self._told = (self.done, time.monotonic())
            rate = steps / max(self._told[1] - since, 1e-9)
            log.write(self.done, {**means, "steps_per_second": rate})
            self._sums = {}
        if self._passed(self._config.checkpoint_every):
            self.save(state)
        if progress is not None:
            progress(self.done, self._config.steps)

    def evaluate(
        self,
        log: TrainLog,
        state: TrainState,
        mesh: Mesh,
        evaluate: Callable[[nnx.Module], Evaluation],
    ) -> None:
        """Logs how good the model is, where it is time to: at first early."""
        every = self._config.evaluate_every
        if every > 0 and (self._before == 0 or self._passed(every)):
            self._collect()  # What is not finite is told as that.
            model = _whole(self._plan, state, mesh)  # By all processes.
            if is_first():
                log.evaluated(self.done, evaluate(model))

    def _passed(self, every: int) -> bool:
        """Whether the last block reached a multiple of `every`, or the end."""
        is_last = self.done == self._config.steps
        return is_last or self.done // every > self._before // every

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
                for more, by in zip(mean.total, mean.weight, strict=True):
                    total, weight = total + float(more), weight + float(by)
                self._sums[name] = [total, weight]
        self._waiting = []

    def _check(self, entry: tuple[int, Any, jax.Array]) -> None:
        before, logs, finite = entry
        flags = jax.device_get(finite)
        if flags.all():
            return
        first = int(flags.all(1).argmin())
        names = guarded_terms(logs, self._plan.like.params)
        bad = [name for name, ok in zip(names, flags[first], strict=True) if not ok]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        step = before + first + 1
        raise NonFiniteError(
            f"step {step}: {bad[0]} is not finite{more}; try a lower rate"
        )
