"""Checkpoints of a run, through orbax: exact, and restorable on other devices."""

import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from egojax.data.arrays import first_line
from egojax.errors import UsageError
from egojax.train.distributed import check_shared
from egojax.train.mesh import path_name


class Checkpoints:
    """The checkpoints in one folder; use it in a `with` block.

    A checkpoint is there whole or not at all: one that was being written when the run
    was killed is not seen.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 3):
        """Opens or creates the folder; only the `keep` newest checkpoints stay.

        Raises:
          UsageError: not all processes of the run see the folder.
        """
        check_shared(folder)
        # A relative path fails late, in one of orbax's threads.
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, save_interval_steps=1)
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exc: Any) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def latest(self) -> int | None:
        """The newest step, or None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Saves in the background; a step that is there already stays as it is.

        Args:
          step: Its number.
          state: A pytree of arrays.
          meta: What JSON can hold.
        """
        if step in self._manager.all_steps():
            return
        meta = {"meta": meta, "state": _describe(state)}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_without_empty(state)),
                meta=ocp.args.JsonSave(meta),
            ),
        )

    def restore(self, step: int, like: Any, shardings: Any) -> tuple[Any, dict]:
        """Reads a checkpoint.

        Args:
          step: Its number.
          like: A pytree of the same structure, arrays or shapes.
          shardings: A tree like it: where the leaves shall lie on this run's devices.

        Returns:
          The state and the `meta` that was saved with it.

        Raises:
          UsageError: the checkpoint is of another model or optimiser, or damaged.
        """
        path = self._folder / str(step)
        target = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            like,
            shardings,
        )
        try:
            saved = self._manager.restore(
                step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            )["meta"]
            _check_same(path, saved["state"], _describe(like))
            wanted = ocp.args.StandardRestore(_without_empty(target))
            found = self._manager.restore(step, args=ocp.args.Composite(state=wanted))[
                "state"
            ]
        except (ValueError, KeyError, TypeError, OSError) as err:
            raise UsageError(
                f"{path}: a damaged checkpoint ({first_line(err):.120}); remove this "
                "folder, and training goes on from the one before it, or anew"
            ) from err
        return _with_empty(found, target), saved["meta"]


def _without_empty(state: Any) -> Any:
    """None instead of arrays without elements, which orbax refuses."""
    return jax.tree.map(lambda x: x if math.prod(x.shape) else None, state)


def _with_empty(found: Any, like: Any) -> Any:
    """What `_without_empty` left out is made again."""
    held = iter(jax.tree.leaves(found))
    return jax.tree.map(
        lambda x: (
            next(held)
            if math.prod(x.shape)
            else jnp.zeros(x.shape, x.dtype, device=x.sharding)
        ),
        like,
    )


def _describe(state: Any) -> dict[str, str]:
    """Path -> type and shape of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_name(p): f"{x.dtype} {list(np.shape(x))}" for p, x in leaves}


def _check_same(path: pathlib.Path, old: dict[str, str], new: dict[str, str]) -> None:
    problems = [
        f"{path}: {name} is {old.get(name, 'not there')} in the checkpoint and "
        f"{new.get(name, 'not there')} in this run; use another --workdir"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if problems:
        raise UsageError.from_problems(problems)
