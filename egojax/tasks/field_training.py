"""How the decomposition job trains fields, and then places what it held out.

Poses that are refined in training lie better to each other than those of other frames,
which are therefore placed before they are judged: by their own images, while the fields
stay as they are.

Source: Lin et al. 2021 (BARF), section 4, for the test-time optimisation of poses.
"""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from egojax.data import arrays
from egojax.methods import field_batches, field_frames
from egojax.methods.field_scene import SceneFrames
from egojax.methods.fields import Fields
from egojax.metrics import psnr
from egojax.task import Block
from egojax.tasks import field_config, field_models
from egojax.train import distributed, loop
from egojax.train.log import Evaluation
from egojax.train.mesh import Rules, make_mesh, put, shard_rules, whole
from egojax.train.optim import make_optimizer
from egojax.types import Clip

Progress = Callable[[int, int], None]
PLACING = "placing"  # Folder of the second training, in that of the first.


def train(
    config: Any,
    clip: Clip,
    frames: SceneFrames,
    about: dict[str, Any],
    where: pathlib.Path,
    progress: Progress | None = None,
) -> nnx.Module:
    """The trained weights of a clip.

    Args:
      config: Of the job.
      clip: What the frames are of.
      frames: With their images.
      about: Of the fields, as `field_models.describe` says.
      where: Folder of the log and the checkpoints.
      progress: Told the steps done and the steps in all.
    """
    fields = field_models.build(config, about)
    height, width = frames.scene.size_hw
    rows = frames.rows("train")
    steps = field_config.num_steps(config, len(rows) * height * width)
    model = _fit(
        config,
        fields,
        field_config.optimizer(config, steps),
        steps,
        _blocks(config, clip, frames, rows),
        where,
        progress,
        rules=shard_rules(config.mesh.shard),
        evaluate=_evaluation(fields, frames),
    )

    def still(done: int, total: int) -> None:
        if progress is not None:
            progress(steps + done, steps + total)

    place_held_out(config, clip, fields, model, frames, where / PLACING, still)
    return model


def place_held_out(
    config: Any,
    clip: Clip,
    fields: Fields,
    model: Any,
    frames: SceneFrames,
    where: pathlib.Path,
    progress: Progress | None = None,
) -> None:
    """Sets the model's poses of the slots that no frame of training has.

    Args:
      fields: What the model belongs to.
      model: Its weights; changed in place.
      config, clip, frames, where, progress: As in `train`.
    """
    rows, all_slots = frames.rows("val", "test"), np.asarray(frames.scene.slots)
    slots = np.setdiff1d(all_slots[rows], all_slots[frames.rows("train")])
    steps = config.cameras.align_steps
    if fields.placing is None or not steps or not len(slots):
        return
    rows = rows[np.isin(all_slots[rows], slots)]
    found: Any = _fit(
        config,
        fields.placing(model),
        field_config.placing_optimizer(config),
        steps,
        _blocks(config, clip, frames, rows),
        where,
        progress,
    )
    for mine, new in (
        (model.poses.shift, found.shift),
        (model.poses.turn, found.turn),
    ):
        mine[...] = mine[...].at[slots].set(new[...][jnp.asarray(slots)])


def _evaluation(
    fields: Fields, frames: SceneFrames
) -> Callable[[Any], Evaluation] | None:
    """How well fields show the middle one of the frames that are for validation.

    Its pose is the given one: poses of held-out frames are refined after training.
    """
    rows, images = frames.rows("val"), frames.scene.images
    if not len(rows) or images is None:
        return None
    row, size_hw = int(rows[len(rows) // 2]), frames.scene.size_hw
    target = np.asarray(images[row])

    def evaluate(model: Any) -> Evaluation:
        shown = field_frames.make_renderer(fields, model, size_hw)(frames.scene, row)
        mask = np.repeat(shown.dynamic[..., None], 3, axis=-1)
        drawn = np.concatenate([shown.rgb, shown.static_rgb, mask], axis=1)
        picture = np.round(255 * np.clip(drawn, 0, 1)).astype(np.uint8)
        return Evaluation(
            {"val_psnr": psnr(shown.rgb, target / 255.0)},
            {"val": np.concatenate([target, picture], axis=1)},
        )

    return evaluate


def _fit(
    config: Any,
    learner: loop.Trainable,
    optim: Any,
    steps: int,
    blocks: Callable[[Mesh], loop.BatchesFrom],
    where: pathlib.Path,
    progress: Progress | None,
    rules: Rules = (),
    evaluate: Callable[[Any], Evaluation] | None = None,
) -> nnx.Module:
    mesh = make_mesh(config.mesh.data)
    if distributed.is_first():
        arrays.make_folder(where)
    return loop.fit(
        learner,
        blocks(mesh),
        make_optimizer(optim),
        mesh,
        loop.FitConfig(
            steps=steps,
            seed=config.seed,
            log_every=config.train.log_every,
            checkpoint_every=config.train.checkpoint_every,
            keep=2,
            pieces=config.train.pieces,
            evaluate_every=config.train.evaluate_every,
        ),
        where,
        rules=rules,
        progress=progress,
        evaluate=evaluate,
    )


def _blocks(
    config: Any, clip: Clip, frames: SceneFrames, rows: np.ndarray
) -> Callable[[Mesh], loop.BatchesFrom]:
    """Steps of `train.block` on rays of some rows, on a mesh.

    What a step sees depends on its number alone.
    """

    def on_mesh(mesh: Mesh) -> loop.BatchesFrom:
        scene, (height, width) = frames.scene, frames.scene.size_hw
        layers = field_config.host_layers(config, scene)
        if layers:
            scene = field_batches.without_pixels(scene)
        on_device = put(scene, whole(mesh))

        def blocks(first: int) -> Iterator[Block]:
            batches = field_batches.ray_batches(
                rows,
                height * width,
                config.train.batch_size,
                config.seed,
                first,
                layers=layers,
                page=field_config.page_frames(config, clip),
            )
            while True:
                steps = field_batches.next_steps(batches, config.train.block)
                yield Block(steps, on_device)

        return blocks

    return on_mesh
