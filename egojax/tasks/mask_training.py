"""How the motion segmentation job trains its network, on a clip or on many.

`FIELDS` are the fields of the config with their defaults, which fit one clip of some
80 frames on two cores.
"""

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from egojax.data import arrays
from egojax.errors import UsageError
from egojax.methods import mask_learning, motion_batches, motion_clips
from egojax.methods.mask_learning import MaskLoss
from egojax.methods.motion_batches import MotionBatch
from egojax.methods.motion_clips import ClipItems, ItemSettings, MotionClip
from egojax.models.unet import UNet, UNetConfig
from egojax.ops.motion_losses import MotionWeights, temporal_ramp
from egojax.tasks import settings
from egojax.train import distributed, loop
from egojax.train.mesh import make_mesh
from egojax.train.optim import Group, OptimConfig, make_optimizer
from egojax.types import Clip

Progress = Callable[[int, int], None]

FIELDS: dict[str, Any] = dict(
    steps=300,
    batch_size=8,  # Images; a multiple of four.
    pieces=1,  # In which a batch is worked on, each of whole quadruples.
    size_hw=(96, 172),  # Of images and masks. Published: (192, 352).
    # The network.
    num_masks=4,
    width=16,  # Channels of the finest level; 2, 4 and 4 times as many below.
    sees_flow=False,  # Beside the image.
    dtype="float32",  # Of products; "bfloat16" is faster on accelerators.
    # What items are made of.
    gaps=(1, 2),
    half=20,
    smooth=11,
    num_points=4096,
    min_visible=0.1,
    flip=True,
    page_folder=False,  # Images and flow in files of the folder, not in memory.
    # The loss; weights as published.
    rank=5,
    keep=0,  # Functions of time that windows are reduced to; 0 = all.
    flow_weight=0.03,
    tracks_weight=5e-5,
    temporal_weight=0.1,
    ramp_steps=0,  # Of the temporal weight, from a thousandth on; 0 = all steps.
    # How weights move. Published: 1.5e-4, clipped to 0.01, in 20,000 steps.
    learning_rate=2e-3,
    warmup_steps=20,
    weight_decay=0.01,
    clip_norm=0.01,
    log_every=10,
    checkpoint_every=100,
)
LEAST = dict(
    steps=1,
    batch_size=4,
    pieces=1,
    num_masks=2,
    width=8,
    half=1,
    smooth=0,
    num_points=1,
    min_visible=0.0,
    rank=0,
    keep=0,
    flow_weight=0.0,
    tracks_weight=0.0,
    temporal_weight=0.0,
    ramp_steps=0,
    warmup_steps=0,
    log_every=1,
    checkpoint_every=1,
)
NORMS = "norm"  # Weights that do not decay, as published.


class MaskTask(NamedTuple):
    """What is trained, as `train.loop.fit` and a `Task` take it."""

    init: Callable[[jax.Array], nnx.Module]
    batches: Callable[[Iterable[Clip], jax.Array, int], Iterator[MotionBatch]]
    loss: Callable[[Any, MotionBatch, jax.Array], tuple[jax.Array, dict[str, Any]]]


def train(
    fields: Any,
    clips: Sequence[MotionClip],
    folder: pathlib.Path,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    devices: int = -1,
) -> UNet:
    """The network, trained on these clips; from the last checkpoint in the folder.

    Args:
      fields: A ConfigDict of `FIELDS`.
      clips: With flow both ways of every gap.
      folder: Of the log, the checkpoints, and, where asked for, of images and flow.
      progress: Told the steps done and the steps in all.
      seed: Of weights, order and draws.
      devices: Of the mesh; -1 = all.

    Raises:
      UsageError: a field or a clip will not do.
    """
    check(fields)
    if distributed.is_first():
        arrays.make_folder(folder)
    task = make_task(fields, folder=folder)
    items = _read(fields, clips, folder)
    model = loop.fit(
        task,
        functools.partial(_batches, fields, items, seed),
        make_optimizer(optimizer(fields)),
        make_mesh(devices),
        loop.FitConfig(
            steps=fields.steps,
            seed=seed,
            log_every=fields.log_every,
            checkpoint_every=fields.checkpoint_every,
            keep=2,
            pieces=fields.pieces,
        ),
        folder,
        progress=progress,
    )
    assert isinstance(model, UNet)
    return model


def make_task(
    fields: Any,
    motion_of: Callable[[Clip], MotionClip] | None = None,
    folder: pathlib.Path | None = None,
) -> MaskTask:
    """What a `Task` needs to train on many clips by `--mode=train`.

    Args:
      fields: A ConfigDict of `FIELDS`.
      motion_of: Finds flow and tracks of a clip, which the stages before have made.
      folder: See `train`.

    Raises:
      UsageError: a field will not do.
    """
    check(fields)

    def batches(clips: Iterable[Clip], key: jax.Array, step: int) -> Iterator[Any]:
        if motion_of is None:
            raise ValueError("these batches need what finds the motion of a clip")
        items = _read(fields, [motion_of(clip) for clip in clips], folder)
        seed = np.asarray(jax.random.key_data(key)).tolist()
        return _batches(fields, items, seed, step)

    return MaskTask(
        init=functools.partial(_init, fields),
        batches=batches,
        loss=mask_learning.mask_loss(loss_settings(fields)),
    )


def check(fields: Any) -> None:
    """Refuses fields that make no sense, all at once.

    Raises:
      UsageError: one line for each.
    """
    most = dict(min_visible=1.0)
    settings.check(fields, dict(dtype=("float32", "bfloat16")), LEAST, most)
    problems = []
    if fields.batch_size % 4 or (fields.batch_size // 4) % fields.pieces:
        problems.append(
            f"batch_size={fields.batch_size}: expected 4 images times a multiple of "
            f"pieces={fields.pieces}"
        )
    if fields.width % 8:
        problems.append(f"width={fields.width}: expected a multiple of 8")
    if fields.smooth and fields.smooth % 2 == 0:
        problems.append(f"smooth={fields.smooth}: expected an odd number of frames")
    if not fields.gaps or min(fields.gaps) < 1:
        problems.append(f"gaps={tuple(fields.gaps)}: expected frames > 0, as in (1, 2)")
    if len(fields.size_hw) != 2 or min(fields.size_hw) < 8:
        problems.append(f"size_hw={tuple(fields.size_hw)}: expected two sides of 8 up")
    if problems:
        raise UsageError.from_problems(problems)


def network(fields: Any) -> UNetConfig:
    """The network of a config."""
    return UNetConfig(
        num_masks=fields.num_masks,
        features=5 if fields.sees_flow else 3,
        channels=tuple(fields.width * times for times in (1, 2, 4, 4)),
        dtype=fields.dtype,
    )


def loss_settings(fields: Any) -> MaskLoss:
    """The loss of a config."""
    return MaskLoss(
        size_hw=tuple(fields.size_hw),
        num_points=fields.num_points,
        rank=fields.rank,
        keep=fields.keep,
        weights=MotionWeights(
            fields.flow_weight, fields.tracks_weight, fields.temporal_weight
        ),
    )


def optimizer(fields: Any) -> OptimConfig:
    """How weights move."""
    return OptimConfig(
        learning_rate=fields.learning_rate,
        warmup_steps=min(fields.warmup_steps, fields.steps // 2),
        decay_steps=fields.steps,
        final_share=0.02,
        groups=(Group(NORMS, 1.0, decay=0.0),),
        weight_decay=fields.weight_decay,
        clip_norm=fields.clip_norm,
    )


def _item_settings(fields: Any) -> ItemSettings:
    return ItemSettings(
        size_hw=tuple(fields.size_hw),
        gaps=tuple(fields.gaps),
        half=fields.half,
        smooth=fields.smooth,
        num_points=fields.num_points,
        min_visible=fields.min_visible,
        flip=fields.flip,
    )


def _init(fields: Any, key: jax.Array) -> UNet:
    return UNet(network(fields), rngs=nnx.Rngs(key))


def _read(
    fields: Any, clips: Iterable[MotionClip], folder: pathlib.Path | None
) -> list[ClipItems]:
    where = folder if fields.page_folder else None
    return [
        motion_clips.read_clip(clip, _item_settings(fields), where) for clip in clips
    ]


def _batches(
    fields: Any,
    items: Sequence[ClipItems],
    seed: int | Sequence[int],
    first: int,
) -> Iterator[MotionBatch]:
    steps = fields.ramp_steps or fields.steps

    def ramp(step: int) -> float:
        return float(temporal_ramp(step, steps=steps))

    return motion_batches.batches(
        *(items, _item_settings(fields), fields.batch_size, seed, first), ramp=ramp
    )
