"""Several processes, one on each host, that train as one.

Every process runs the same program on the same data and holds its part of each global
array; one mesh has the devices of all. The first process (index 0) alone writes logs;
all of them write checkpoints, so they must see the same run folder.
"""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from egojax.errors import UsageError
from egojax.train.mesh import put, split, whole
from egojax.train.roll_call import Member, check, roll_call

AUTO = "auto"  # Instead of an address.
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
LEAVE_SECONDS = 30  # How long a process that goes waits for the others to go.


@contextlib.contextmanager
def joined(
    coordinator: str = "", count: int = 1, index: int = 0, *, timeout: float = 60.0
) -> Iterator[None]:
    """Within, this process is one of `count`; does nothing for a single one.

    To be entered before anything else that asks JAX for devices, and left by all
    processes at the same point, such as behind `loop.fit`. From then on each is on its
    own, with `jax.local_devices()`. A process that is lost within takes the others
    with it, as JAX does: at the latest 100 s later.

    Args:
      coordinator: HOST:PORT of the first process, the port one that is free there. Or
        "auto", and `count` and `index` do not count: from JAX_COORDINATOR_ADDRESS,
        JAX_NUM_PROCESSES and JAX_PROCESS_ID, or as JAX finds it by itself (Slurm, Open
        MPI, Kubernetes, TPU pods).
      count: Processes in all.
      index: Of this process, from 0.
      timeout: Seconds to wait for the others.

    Raises:
      UsageError: a number is out of range; the address is none, cannot be reached, or
        its port is taken; other processes do not come, or have other settings.
    """
    if coordinator == AUTO:
        member = _member_of_environment()
    else:
        member = Member(coordinator, count, index)
    if member is not None and member.count == 1 and member.index == 0:
        yield
        return
    # JAX would catch SIGTERM to no end: `StopVote` does this work.
    jax.config.update("jax_enable_preemption_service", False)
    if member is None:
        _join_found(timeout)
    else:
        check(member)
        roll_call(member, timeout)
        jax.distributed.initialize(
            *member,
            cluster_detection_method="deactivate",
            initialization_timeout=int(timeout) + 1,
            shutdown_timeout_seconds=LEAVE_SECONDS,
        )
    yield
    # Not after an error: if it is of this process alone, the others will not come here,
    # and JAX ends a process that waits for them in vain before the error is told. JAX
    # leaves by itself when Python ends.
    jax.distributed.shutdown()


def _member_of_environment() -> Member | None:
    """What the variables say; None unless all are there."""
    found = [os.environ.get(name) for name in VARIABLES]
    address, count, index = found
    if address is None or count is None or index is None:
        return None
    try:
        return Member(address, int(count), int(index))
    except ValueError:
        raise UsageError(
            f"{VARIABLES[1]} = {count!r}, {VARIABLES[2]} = {index!r}: expected integers"
        ) from None


def _join_found(timeout: float) -> None:
    try:
        jax.distributed.initialize(
            initialization_timeout=int(timeout) + 1,
            shutdown_timeout_seconds=LEAVE_SECONDS,
        )
    except ValueError as err:
        raise UsageError(
            f"hosts.coordinator = {AUTO}: found neither {', '.join(VARIABLES)} nor a "
            f"cluster that JAX knows ({err}); give coordinator, count and index"
        ) from None


def is_first() -> bool:
    """Whether this is the process that writes for all."""
    return jax.process_index() == 0


class StopVote:
    """Whether any process is to stop, told to all of them at the same step.

    With several, the answer is that of the call before, so that nobody waits for the
    devices: they work through the block that was put between.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._any = jax.jit(jnp.any, out_shardings=whole(mesh))
        self._before: jax.Array | None = None

    def __call__(self, wants: bool) -> bool:
        """Each process says what it wants, after the same step."""
        if jax.process_count() == 1:
            return wants
        # Each fills its own part: this is the one array that is not the same on all.
        mine = np.full(self._mesh.size, wants)
        before, self._before = self._before, self._any(put(mine, split(self._mesh)))
        return before is not None and bool(before)


def here(tree: Any, mesh: Mesh) -> Any:
    """Global arrays as whole ones that this process can use alone."""
    if jax.process_count() == 1:
        return tree
    gather = jax.jit(lambda tree: tree, out_shardings=whole(mesh))
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), gather(tree))


def check_shared(folder: pathlib.Path) -> None:
    """Refuses a folder that not all processes see.

    Raises:
      UsageError: in all processes, if one of them does not.
    """
    if jax.process_count() == 1:
        return
    token = secrets.randbits(31)
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".shared-{token}").touch()
    # Nobody gets the token before the file is there.
    token = multihost_utils.broadcast_one_to_all(np.int32(token))
    mark = folder / f".shared-{token}"
    seen = multihost_utils.process_allgather(np.bool(mark.exists()))
    if is_first():
        mark.unlink()
    if not seen.all():
        blind = ", ".join(str(index) for index in np.flatnonzero(~seen))
        raise UsageError(
            f"{folder}: not seen by process {blind}; all hosts need the same folder, "
            "on a shared file system: give another --workdir"
        )
