"""Motion segmentation by a network: what it learns of clips, and its masks of them.

`config.solver` says which network; see `mask_networks`. The stage `learn` trains it on
a clip, `--mode=train` on all clips of the data set; then, and where weights are given,
there is no such stage.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from egojax.data import arrays, images, motion_results, point_files
from egojax.data.frame_stack import FrameStack
from egojax.data.motion_results import SoftMasks
from egojax.data.resizing import LAYERS
from egojax.data.runs import ClipFolder, is_free
from egojax.errors import FrameError, UsageError
from egojax.methods import group_masks, mask_fronts, mask_learning
from egojax.methods.mask_fronts import FrontEvidence
from egojax.methods.mask_learning import MaskNet
from egojax.methods.motion_clips import MotionClip, fitted_flow
from egojax.task import Progress, Stage
from egojax.tasks import (
    mask_networks,
    mask_training,
    motion_config,
    motion_folder,
    motion_imports,
    settings,
)
from egojax.tasks.mask_networks import FILE, Kind
from egojax.tasks.motion_folder import FLOW, GROUPS, LABELS, OFFICIAL, POINTS
from egojax.train import distributed
from egojax.train.optim import make_optimizer
from egojax.types import Clip, SkippedFrame

LEARN = "learn"  # Stage, and its folder in that of the clip.
WEIGHTS = ("network.weights", "official.weights")  # That are given.
SHOWN = (  # Fields that only masks depend on.
    *("network.front", "network.front_by", "network.least_motion", "network.edges"),
    *("official.merger", "official.mean", "show.official"),
)


def kind_of(config: Any) -> Kind:
    """The network of a config; with its backbone, if it has one.

    Raises:
      UsageError: a file of weights is missing, or is of something else.
    """
    if config.solver == "official":
        return mask_networks.published(config.network, config.official)
    return mask_networks.unet(config.network)


# --------------------------------------------------------------- training on all clips


def learns(config: Any, folder: pathlib.Path) -> dict[str, Any]:
    """The fields of a `Task` that learns from all of its clips."""
    fields, kind = config.network, kind_of(config)

    def motion_of(clip: Clip) -> MotionClip:
        return _motion_of(config, clip, folder / "clips" / clip.name)

    task = mask_training.make_task(
        fields, motion_of, folder, devices=config.mesh.data, kind=kind
    )
    return dict(
        init=task.init,
        batches=task.batches,
        loss=task.loss,
        save=lambda model: mask_networks.write(folder / FILE, model, kind),
        learns_after="tracks",
        optimizer=make_optimizer(mask_training.optimizer(fields)),
        fit=mask_training.fit_config(fields, config.seed),
    )


# -------------------------------------------------------------------------- the stages


def stages(config: Any) -> tuple[Stage, ...]:
    """How a network solves a clip, behind the stage `tracks`."""
    groups = ("network", "official") if config.solver == "official" else ("network",)
    learned = {
        name: value
        for name, value in settings.fields(config, *groups).items()
        if name not in (*SHOWN, *WEIGHTS) and not is_free(name)
    }
    backbone = [name for name in ("official.backbone",) if name in learned]
    given = settings.fields(config, *WEIGHTS)
    is_given = any(given.values())
    shown = settings.fields(config, *SHOWN, "masks")
    if is_given:  # What they are of is checked where they are read.
        shown |= learned | given
    masks = Stage(
        "masks",
        functools.partial(_masks, config),
        reads=shown,
        files=("official.merger", *((*WEIGHTS, *backbone) if is_given else ())),
        needs=(POINTS, FLOW) if is_given else (POINTS, FLOW, FILE),
        writes=(LABELS, GROUPS, *OFFICIAL),
    )
    learn = Stage(
        LEARN,
        functools.partial(_learn, config),
        reads=learned,
        files=tuple(backbone),
        needs=(POINTS, FLOW),
        writes=(LEARN, FILE),
        together=True,
    )
    return (masks,) if is_given else (learn, masks)


def _learn(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    """What was learned before it was stopped is kept: checkpoints are exact."""
    fields, kind = config.network, kind_of(config)
    model = mask_training.train(
        fields,
        [_motion_of(config, clip, folder.path)],
        folder.path / LEARN,
        progress,
        seed=config.seed,
        devices=config.mesh.data,
        kind=kind,
    )
    if distributed.is_first():
        mask_networks.write(folder.path / FILE, model, kind)
    return []


def _motion_of(config: Any, clip: Clip, folder: pathlib.Path) -> MotionClip:
    """What is learned from."""
    files = None
    if config.network.windows == "files":
        files = motion_imports.track_files(config, clip)
    return motion_folder.motion_of(clip, folder, config.network.gaps, files)


def _network(config: Any, folder: pathlib.Path) -> tuple[MaskNet, Kind]:
    kind = kind_of(config)
    if config.official.weights:
        path, mean = pathlib.Path(config.official.weights), config.official.mean
        return mask_networks.read_published(path, kind, mean=mean), kind
    if config.network.weights:
        path = mask_networks.weights_file(config.network.weights)
        return mask_networks.read(path, kind), kind
    return mask_networks.read(folder / FILE, kind), kind


def _masks(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    assert clip.frames is not None
    tracks = motion_folder.read_points(clip, folder.path)
    found = _look(config, clip, folder.path, progress)
    votes = mask_fronts.TrackVotes(tracks, config.network.num_masks + 1)
    settings = group_masks.MaskSettings(**config.masks)
    arrays.make_folder(folder.path / LABELS)
    for row, t in enumerate(found.frames):
        image, name = clip.frames[t], clip.frame_ids[t]
        masks = np.asarray(mask_learning.enlarged(found.masks[row], clip.size_hw))
        if config.network.edges:
            masks = group_masks.scores_along_edges(image, masks, settings)
        is_front = found.fronts[row]
        labels = mask_fronts.front_labels(masks, is_front)
        images.write_labels(folder.path / LABELS / f"{name}.png", labels)
        if config.show.official:
            soft = SoftMasks(np.clip(masks[is_front].sum(0), 0, 1), masks)
            motion_results.write_frame(
                folder.path / "official", clip.name, name, soft, labels
            )
        votes.add(t, labels)
        progress(clip.num_frames + t + 1, 2 * clip.num_frames)
    point_files.write_groups(folder.path / GROUPS, votes.groups())
    return found.skipped


class _Seen(NamedTuple):
    """What a network shows of a clip, at its own size."""

    frames: list[int]  # That could be read.
    masks: np.ndarray  # float32 (R, K, h, w), of those.
    fronts: np.ndarray  # bool (R, K)
    skipped: list[SkippedFrame]


def _look(config: Any, clip: Clip, folder: pathlib.Path, progress: Progress) -> _Seen:
    """The masks of all frames, and which of them are in front.

    Raises:
      UsageError: not one frame can be read, or masks are not finite.
    """
    assert clip.frames is not None
    model, kind = _network(config, folder)
    size_hw = tuple(config.network.size_hw)
    gap = motion_config.gaps(config)[0]
    both = (
        motion_folder.flow_of(clip, folder, gap),
        motion_folder.flow_of(clip, folder, -gap),
    )
    masks = mask_learning.small_masks(
        model, clip.frames, size_hw, both, kind.backbone, gap
    )
    features = _features_of(config)
    frames, evidence, skipped = [], [], []
    with FrameStack(clip.num_frames, folder) as stack:
        for t in range(clip.num_frames):
            try:
                small, flows = masks[t], [source[t] for source in both]
                seen = None if features is None else features(clip.frames[t])
            except FrameError as err:
                skipped.append(SkippedFrame(t, str(err)))
                continue
            if not np.isfinite(small).all():
                raise UsageError(
                    f"{clip.name}, frame {clip.frame_ids[t]}: the network's masks are "
                    "not finite, so its weights are spoilt; learn with a smaller "
                    "config.network.learning_rate, or give other weights"
                )
            flow = next((f for f in flows if f is not None), None)
            flow = None if flow is None else fitted_flow(flow, size_hw) / gap
            stack.append(small)
            frames.append(t)
            evidence.append(mask_fronts.front_evidence(small, flow, seen))
            progress(t + 1, 2 * clip.num_frames)
        if not frames:
            raise UsageError(f"{clip.name}: no frame can be read")
        return _Seen(frames, stack.array(), _fronts(config, evidence), skipped)


def _fronts(config: Any, evidence: list[FrontEvidence]) -> np.ndarray:
    """Of each frame, bool (R, K)."""

    def chosen(rows: list[FrontEvidence]) -> np.ndarray:
        return mask_fronts.fronts(
            rows,
            config.network.least_motion,
            by_features=config.network.front == "look",
        )

    if config.network.front_by == "frame":
        return np.stack([chosen([row]) for row in evidence])
    return np.repeat(chosen(evidence)[None], len(evidence), 0)


def _features_of(config: Any) -> Callable[[np.ndarray], Any] | None:
    """Returns features(frame), by which masks are merged; None = they are not.

    Raises:
      UsageError: the file of their network is of something else.
    """
    if config.network.front != "look" or config.network.num_masks == 2:
        return None
    path = pathlib.Path(config.official.merger)
    merger = mask_networks.read_dino(path, 1, config.network.dtype)
    graphdef, state = nnx.split(merger)
    size_hw = tuple(config.network.size_hw)

    @jax.jit
    def find(state: Any, image: Any) -> Any:
        return mask_learning.keys_of(nnx.merge(graphdef, state), image[None])[0, 0]

    def features(frame: np.ndarray) -> Any:
        return find(state, LAYERS["frames"](frame.shape[:2], size_hw, frame))

    return features
