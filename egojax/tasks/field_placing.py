"""Where frames that were held out were taken, found by their own images.

Poses that are refined in training lie better to each other than those of other frames,
which are therefore placed before they are judged; the fields stay as they are.

Source: Lin et al. 2021 (BARF), section 4, test-time optimisation of poses.
"""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from egojax.data import arrays
from egojax.methods import field_scene
from egojax.methods.field_scene import SceneFrames
from egojax.methods.fields import Fields
from egojax.task import Block
from egojax.tasks import field_config
from egojax.train import distributed, loop
from egojax.train.mesh import make_mesh, put, whole
from egojax.train.optim import make_optimizer


def place_held_out(
    config: Any,
    fields: Fields,
    model: Any,
    frames: SceneFrames,
    where: pathlib.Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Sets the model's poses of the slots that no frame of training has.

    Args:
      config: Of the job.
      fields: What the model belongs to.
      model: Its weights; changed in place.
      frames: All frames.
      where: Folder of the log and the checkpoints.
    """
    rows, trained = frames.rows("val", "test"), frames.rows("train")
    slots = np.setdiff1d(frames.scene.slots[rows], frames.scene.slots[trained])
    steps = config.cameras.align_steps
    if fields.placing is None or not steps or not len(slots):
        return
    rows = rows[np.isin(frames.scene.slots[rows], slots)]
    mesh = make_mesh(config.mesh.data)
    scene = put(frames.scene, whole(mesh))

    def blocks(first: int) -> Iterator[Block]:
        height, width = frames.scene.size_hw
        rays = field_scene.ray_batches(
            rows, height * width, config.train.batch_size, config.seed, first
        )
        while True:
            picked = list(itertools.islice(rays, config.train.block))
            yield Block(np.stack(picked), scene)

    if distributed.is_first():
        arrays.make_folder(where)
    found = loop.fit(
        fields.placing(model),
        blocks,
        make_optimizer(field_config.placing_optimizer(config)),
        mesh,
        loop.FitConfig(
            steps=steps,
            seed=config.seed,
            log_every=config.train.log_every,
            checkpoint_every=config.train.checkpoint_every,
            keep=1,
        ),
        where,
        progress=progress,
    )
    for name in ("shift", "turn"):
        mine, new = getattr(model.poses, name), getattr(found, name)
        mine[...] = mine[...].at[slots].set(new[...][jnp.asarray(slots)])
