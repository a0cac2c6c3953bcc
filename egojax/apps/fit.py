"""`--mode=train`: fits a job's weights before its stages run."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from egojax.apps.cli import Arguments
from egojax.apps.progress import ProgressLine
from egojax.data.runs import RunFolder
from egojax.errors import UsageError
from egojax.task import Progress, Task
from egojax.train import loop
from egojax.train.mesh import make_mesh, shard_rules


def check(task: Task, config: Any, arguments: Arguments) -> None:
    """Refuses what cannot be trained.

    Raises:
      UsageError: the job learns nothing; or a shard of the clips, or some stages only,
        were asked for.
    """
    if task.loss is None:
        raise UsageError(
            f"--mode=train: {config.job} learns nothing from all clips together; what "
            "it learns of each is a stage: leave --mode=train away"
        )
    if arguments.shard != (0, 1) or arguments.only:
        raise UsageError(
            "--mode=train takes no --shard and no --only: it learns from all clips; run"
            " --mode=predict on shards with the weights that it writes"
        )


def before(task: Task) -> Task:
    """The job up to the stage that training reads."""
    names = [stage.name for stage in task.stages]
    count = names.index(task.learns_after) + 1 if task.learns_after else 0
    return task._replace(stages=task.stages[:count])


def fit(task: Task, config: Any, folder: RunFolder, call: Callable[..., None]) -> None:
    """Trains on all clips that could be read, and writes what was learned.

    Given the names of these clips, `call` has the other processes, if there are such,
    `learn` from them at the same time.
    """
    if task.save is None:
        raise ValueError("a task that learns needs save")
    ready = [
        name
        for name in task.clips
        if not task.learns_after or folder.clip(name).done(task.learns_after)
    ]
    call(*ready)
    progress = ProgressLine("fit")
    model = learn(task, config, folder.path, ready, progress)
    seconds, steps = progress.close(), task.fit.steps
    task.save(model)
    folder.log("fit", steps=steps, seconds=round(seconds, 3))
    print(f"fit: {steps} steps done in {seconds:.1f} s")


def learn(
    task: Task,
    config: Any,
    folder: pathlib.Path,
    names: Sequence[str],
    progress: Progress,
) -> nnx.Module:
    """Trains on these clips, from the last checkpoint in the run folder on."""
    batches, tx = task.batches, task.optimizer
    if batches is None or tx is None or task.fit is None:
        raise ValueError("a task that learns needs batches, optimizer and fit")
    key = jax.random.key(config.seed)
    return loop.fit(
        task,
        lambda first: batches((task.clips[name]() for name in names), key, first),
        tx,
        make_mesh(config.mesh.data),
        task.fit,
        folder,
        rules=shard_rules(config.mesh.shard),
        progress=progress,
    )
