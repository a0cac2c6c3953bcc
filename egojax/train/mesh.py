"""One mesh of devices, made once, and what lies where on it.

A batch is split along its first axis over the mesh axis "data". Weights and optimiser
states are whole on every device, unless a rule says otherwise.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from egojax.errors import UsageError
from egojax.task import Block

# (pattern, spec): a leaf whose path contains a match of the pattern is laid out by the
# spec. The first rule that matches holds. The moments of an optimiser have the paths of
# their weights behind their own, so one rule reaches both.
Rules = Sequence[tuple[str, PartitionSpec]]


def make_mesh(data: int = -1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns the mesh of a run, with the single axis "data".

    Args:
      data: Devices that the batch is split over; -1 = all.
      devices: To choose from; None = all that there are.

    Raises:
      UsageError: there are not so many devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    count = len(devices) if data == -1 else data
    if not 1 <= count <= len(devices):
        raise UsageError(
            f"mesh.data = {data}: there are {len(devices)} devices; "
            "give a number from 1 to that, or -1 for all"
        )
    # Auto: under the default (Explicit) a plain gather along a split axis is an error.
    return jax.make_mesh(
        (count,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:count]
    )


def whole(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """An axis, the first if none is named, over "data"."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def lay_out(tree: Any, mesh: Mesh, rules: Rules = ()) -> Any:
    """Returns a tree of shardings, one for each leaf.

    Args:
      tree: Of arrays or their shapes.
      mesh: The mesh.
      rules: See `Rules`; what none matches is whole everywhere.

    Raises:
      UsageError: a rule matches nothing, or does not fit a shape it matches.
    """
    unused = {pattern for pattern, _ in rules}
    problems: list[str] = []

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name = path_name(path)
        for pattern, spec in rules:
            if re.search(pattern, name):
                unused.discard(pattern)
                sharding = NamedSharding(mesh, spec)
                try:
                    sharding.shard_shape(np.shape(leaf))
                except ValueError as err:
                    problems.append(f"sharding rule {pattern!r}: {name}: {err}")
                return sharding
        return whole(mesh)

    out = jax.tree_util.tree_map_with_path(place, tree)
    problems += [f"sharding rule {p!r} matches no weight" for p in sorted(unused)]
    if problems:
        raise UsageError.from_problems(problems)
    return out


def put_block(block: Block, mesh: Mesh) -> Block:
    """Puts host arrays on the devices: batches split, what they share whole.

    Raises:
      UsageError: the first axis of a batch does not divide by the number of devices.
    """
    count = mesh.shape["data"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(block.batches):
        if np.ndim(leaf) < 2 or np.shape(leaf)[1] % count:
            raise UsageError(
                f"batch: {path_name(path)} has shape {np.shape(leaf)[1:]}; its first "
                f"axis must divide by {count} devices; change the batch size or "
                "mesh.data"
            )
    return jax.device_put(block, Block(split(mesh, 1), whole(mesh)))


def path_name(path: tuple) -> str:
    """The path of a leaf as text: layers/0/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
