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
      data: Devices that the batch is split over, as many of each process; -1 = all.
      devices: To choose from; None = all that there are, those of other processes too.

    Raises:
      UsageError: there are not so many devices, or they cannot be shared out.
    """
    devices = jax.devices() if devices is None else list(devices)
    count = len(devices) if data == -1 else data
    if not 1 <= count <= len(devices):
        raise UsageError(
            f"mesh.data = {data}: there are {len(devices)} devices; "
            "give a number from 1 to that, or -1 for all"
        )
    if count < len(devices):
        devices = _share_out(devices, count)
    # Auto: under the default (Explicit) a plain gather along a split axis is an error.
    return jax.make_mesh(
        (count,), ("data",), axis_types=(AxisType.Auto,), devices=devices
    )


def _share_out(devices: list[jax.Device], count: int) -> list[jax.Device]:
    """So many of the devices, the same number of each process."""
    owners = [device.process_index for device in devices]
    each, rest = divmod(count, len(set(owners)))
    if rest or not all(owners.count(owner) >= each for owner in owners):
        raise UsageError(
            f"mesh.data = {count}: {len(set(owners))} processes cannot give the same "
            "number of devices each; give a multiple, or -1 for all"
        )
    return [
        device
        for at, device in enumerate(devices)
        if owners[:at].count(owners[at]) < each
    ]


def whole(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """An axis, the first if none is named, over "data"."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def shard_rules(pattern: str) -> Rules:
    """Rules that split the weights a pattern matches, along their first axis.

    Args:
      pattern: A regular expression, found anywhere in the path of a weight, such as
        "_table$"; none is split if it is empty.

    Raises:
      UsageError: no regular expression.
    """
    try:
        re.compile(pattern)
    except re.error as err:
        raise UsageError(
            f"mesh.shard={pattern}: no regular expression ({err})"
        ) from None
    return ((pattern, PartitionSpec("data")),) if pattern else ()


def lay_out(tree: Any, mesh: Mesh, rules: Rules = ()) -> Any:
    """Returns a tree of shardings, one for each leaf.

    Args:
      tree: Of arrays or their shapes.
      mesh: The mesh.
      rules: See `Rules`; what none matches is whole everywhere, and so is what has
        fewer axes than the rule splits, such as the number of steps.

    Raises:
      UsageError: a rule matches nothing, or does not fit a shape it matches; one line
        for each rule.
    """
    unused = {pattern for pattern, _ in rules}
    unfit: dict[str, list[str]] = {}

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name, shape = path_name(path), np.shape(leaf)
        for pattern, spec in rules:
            if len(spec) <= len(shape) and re.search(pattern, name):
                unused.discard(pattern)
                if not _divides(mesh, spec, shape):
                    unfit.setdefault(pattern, []).append(f"{name} of shape {shape}")
                return NamedSharding(mesh, spec)
        return whole(mesh)

    out = jax.tree_util.tree_map_with_path(place, tree)
    problems = [f"sharding rule {p!r} matches no weight" for p in sorted(unused)]
    for pattern, names in unfit.items():
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        problems.append(
            f"sharding rule {pattern!r}: {mesh.size} devices cannot share {names[0]}"
            f"{more}; name others, or use another number of devices"
        )
    if problems:
        raise UsageError.from_problems(problems)
    return out


def _divides(mesh: Mesh, spec: PartitionSpec, shape: tuple[int, ...]) -> bool:
    try:
        NamedSharding(mesh, spec).shard_shape(shape)
    except ValueError:
        return False
    return True


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
    return Block(put(block.batches, split(mesh, 1)), put(block.shared, whole(mesh)))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Puts host arrays on the devices.

    Every process gives the same arrays, and keeps what its own devices hold of them.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put_part(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        # Not device_put: it would compare the arrays of all processes each time.
        host = np.asarray(leaf)
        host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype), copy=False)
        return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])

    return jax.tree.map(put_part, tree)


def path_name(path: tuple) -> str:
    """The path of a leaf as text: layers/0/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
