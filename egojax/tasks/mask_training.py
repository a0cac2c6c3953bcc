"""How the motion segmentation job trains a network, on a clip or on many.

The fields that say how are `config.network` of `configs/motion_seg.py`, where their
meaning and their defaults stand. Which network it is, a `mask_networks.Kind` says;
without one it is the U-Net of the fields.
"""

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from egojax.data import arrays
from egojax.data.values import is_int
from egojax.errors import UsageError
from egojax.methods import mask_learning, motion_batches, motion_clips
from egojax.methods.mask_learning import MaskLoss, MaskNet
from egojax.methods.motion_batches import MotionBatch
from egojax.methods.motion_clips import ClipItems, ItemSettings, MotionClip
from egojax.ops.motion_losses import MotionWeights, temporal_ramp
from egojax.task import Block
from egojax.tasks import mask_networks, settings
from egojax.tasks.mask_networks import Kind
from egojax.train import distributed, loop
from egojax.train.mesh import make_mesh, put, whole
from egojax.train.optim import Group, OptimConfig, make_optimizer
from egojax.types import Clip

Progress = Callable[[int, int], None]

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
    learning_rate=0.0,
    warmup_steps=0,
    warmup_share=0.0,
    decay_steps=0,
    weight_decay=0.0,
    clip_norm=0.0,
    mean_share=0.0,
    mean_after=0,
    log_every=1,
    checkpoint_every=1,
)
MOST = dict(min_visible=1.0, warmup_share=1.0, mean_share=0.9999)
CHOICES = dict(dtype=("float32", "bfloat16"), decay=("cosine", "power"))
POWER = 0.9  # Of the published decay.
STILL = "norm|queries/queries$"  # Weights that do not decay, as published.


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
    kind: Kind | None = None,
) -> MaskNet:
    """The network, trained on these clips; from the last checkpoint in the folder.

    Args:
      fields: `config.network`.
      clips: With flow both ways of every gap.
      folder: Of the log, the checkpoints, and, where asked for, of images and flow.
      progress: Told the steps done and the steps in all.
      seed: Of weights, order and draws.
      devices: Of the mesh; -1 = all.
      kind: Of network; None = the U-Net of the fields.

    Raises:
      UsageError: a field or a clip will not do.
    """
    if distributed.is_first():
        arrays.make_folder(folder)
    task = make_task(fields, folder=folder, devices=devices, kind=kind)
    items = _read(fields, clips, folder, kind)
    model: Any = loop.fit(
        task,
        functools.partial(_batches, fields, items, seed, devices, kind),
        make_optimizer(optimizer(fields)),
        make_mesh(devices),
        fit_config(fields, seed),
        folder,
        progress=progress,
    )
    return model


def make_task(
    fields: Any,
    motion_of: Callable[[Clip], MotionClip] | None = None,
    folder: pathlib.Path | None = None,
    *,
    devices: int = -1,
    kind: Kind | None = None,
) -> MaskTask:
    """What a `Task` needs to train on many clips by `--mode=train`.

    Args:
      fields: `config.network`.
      motion_of: Finds flow and tracks of a clip, which the stages before have made.
      folder, devices, kind: See `train`.

    Raises:
      UsageError: a field will not do.
    """
    check(fields)
    kind = kind or mask_networks.unet(fields)

    def batches(clips: Iterable[Clip], key: jax.Array, step: int) -> Iterator[Any]:
        if motion_of is None:
            raise ValueError("these batches need what finds the motion of a clip")
        items = _read(fields, [motion_of(clip) for clip in clips], folder, kind)
        seed = np.asarray(jax.random.key_data(key)).tolist()
        return _batches(fields, items, seed, devices, kind, step)

    looks = None if kind.keeps_keys else kind.backbone
    return MaskTask(
        init=kind.init,
        batches=batches,
        loss=mask_learning.mask_loss(loss_settings(fields), looks),
    )


def fit_config(fields: Any, seed: int) -> loop.FitConfig:
    """How long it trains, and how often it tells and saves."""
    return loop.FitConfig(
        steps=fields.steps,
        seed=seed,
        log_every=fields.log_every,
        checkpoint_every=fields.checkpoint_every,
        keep=2,
        pieces=fields.pieces,
    )


def check(fields: Any) -> None:
    """Refuses fields that make no sense, all at once.

    Raises:
      UsageError: one line for each.
    """
    settings.check(fields, CHOICES, LEAST, MOST)
    found = problems(fields)
    if found:
        raise UsageError.from_problems(found)


def problems(fields: Any, group: str = "") -> list[str]:
    """What makes no sense, beyond `CHOICES`, `LEAST` and `MOST`; a line for each.

    Args:
      fields: `config.network`.
      group: What the names of fields begin with, such as "config.network.".
    """
    found = []
    if fields.batch_size % 4 or (fields.batch_size // 4) % fields.pieces:
        found.append(
            f"batch_size={fields.batch_size}: expected 4 images times a multiple of "
            f"pieces={fields.pieces}"
        )
    if fields.width % 8:
        found.append(f"width={fields.width}: expected a multiple of 8")
    if fields.smooth and fields.smooth % 2 == 0:
        found.append(f"smooth={fields.smooth}: expected an odd number of frames")
    gaps, sides = tuple(fields.gaps), tuple(fields.size_hw)
    if not gaps or not _are_whole(gaps, 1) or len(set(gaps)) < len(gaps):
        found.append(f"gaps={gaps}: expected different frames > 0, as in (1, 2)")
    if len(sides) != 2 or not _are_whole(sides, 8):
        found.append(f"size_hw={sides}: expected two sides of 8 up")
    sides = tuple(fields.flow_hw)
    if sides and (len(sides) != 2 or not _are_whole(sides, 8)):
        found.append(f"flow_hw={sides}: expected two sides of 8 up, or ()")
    frames = 2 * fields.half + 1
    rows = 2 * min(fields.keep or frames, frames)
    if fields.tracks_weight and fields.rank >= rows:
        found.append(
            f"rank={fields.rank}: nothing is beyond it; expected less than {rows}, 2 "
            "for each function of time, or tracks_weight=0"
        )
    if not fields.learning_rate > 0:
        found.append(f"learning_rate={fields.learning_rate}: expected more than 0")
    return [f"{group}{line}" for line in found]


def _are_whole(numbers: Sequence[Any], least: int) -> bool:
    return all(is_int(n) and n >= least for n in numbers)


def loss_settings(fields: Any) -> MaskLoss:
    """The loss of a config."""
    return MaskLoss(
        num_points=fields.num_points,
        rank=fields.rank,
        keep=fields.keep,
        published=fields.published_loss,
        weights=MotionWeights(
            fields.flow_weight, fields.tracks_weight, fields.temporal_weight
        ),
    )


def optimizer(fields: Any) -> OptimConfig:
    """How weights move."""
    is_power = fields.decay == "power"
    return OptimConfig(
        learning_rate=fields.learning_rate,
        warmup_steps=min(fields.warmup_steps, fields.steps // 2),
        warmup_share=fields.warmup_share,
        decay_steps=fields.decay_steps or fields.steps,
        decay_power=POWER if is_power else 0.0,
        final_share=0.0 if is_power else 0.02,
        groups=(Group(STILL, 1.0, decay=0.0),),
        weight_decay=fields.weight_decay,
        clip_norm=fields.clip_norm,
        mean_share=fields.mean_share,
        mean_after=fields.mean_after,
    )


def _item_settings(fields: Any) -> ItemSettings:
    return ItemSettings(
        size_hw=tuple(fields.size_hw),
        flow_hw=tuple(fields.flow_hw) or None,
        gaps=tuple(fields.gaps),
        half=fields.half,
        smooth=fields.smooth,
        num_points=fields.num_points,
        min_visible=fields.min_visible,
        flip=fields.flip,
        published=fields.published_loss,
    )


def _read(
    fields: Any,
    clips: Iterable[MotionClip],
    folder: pathlib.Path | None,
    kind: Kind | None,
) -> list[ClipItems]:
    where = folder if fields.page_folder else None
    keys_of = None
    if kind is not None and kind.keeps_keys:
        keys_of = _keys_finder(kind)
        where = folder  # They are large: of ViT-B/8 at 192 x 352, 50 MB an image.
    return [
        motion_clips.read_clip(clip, _item_settings(fields), where, keys_of)
        for clip in clips
    ]


def _keys_finder(kind: Kind) -> Callable[[np.ndarray], np.ndarray]:
    """Returns keys(images), of the frozen backbone."""
    assert kind.backbone is not None
    graphdef, state = nnx.split(kind.backbone)

    @jax.jit
    def find(state: Any, images: Any) -> Any:
        return mask_learning.keys_of(nnx.merge(graphdef, state), images)

    return lambda images: np.asarray(find(state, images))


def _batches(
    fields: Any,
    items: Sequence[ClipItems],
    seed: int | Sequence[int],
    devices: int,
    kind: Kind | None,
    first: int,
) -> Iterator[MotionBatch | Block]:
    steps = fields.ramp_steps or fields.steps

    def ramp(step: int) -> float:
        return float(temporal_ramp(step, steps=steps))

    found = motion_batches.batches(
        *(items, _item_settings(fields), fields.batch_size, seed, first), ramp=ramp
    )
    if kind is None or kind.backbone is None or kind.keeps_keys:
        return found
    # All steps look through the same backbone: it is put on the devices once.
    looks = put(mask_learning.frozen(kind.backbone), whole(make_mesh(devices)))
    return (Block(jax.tree.map(lambda x: x[None], batch), looks) for batch in found)
