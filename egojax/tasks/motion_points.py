"""Groups of point tracks, and masks from them, as the stages of solver `points`."""

import functools
from typing import Any

import numpy as np

from egojax.data import arrays, images, motion_results, point_files
from egojax.data.motion_results import SoftMasks
from egojax.data.runs import ClipFolder
from egojax.errors import FrameError, UsageError
from egojax.methods import clip_groups, group_masks, lowrank_groups, still_points
from egojax.methods.motion_groups import PartOf
from egojax.task import Progress, Stage
from egojax.tasks import flow_masks, motion_config, settings
from egojax.tasks.motion_folder import GROUPS, LABELS, OFFICIAL, POINTS, read_points
from egojax.types import Clip, PointTracks, SkippedFrame


def stages(config: Any) -> tuple[Stage, ...]:
    """What tells of the tracks of a clip which move as one, and makes masks of it."""
    return (
        Stage(
            "group",
            functools.partial(_group, config),
            reads=settings.fields(config, "group", "low_rank", "still"),
            needs=(POINTS,),
            writes=(GROUPS,),
        ),
        Stage(
            "masks",
            functools.partial(_masks, config),
            reads=settings.fields(config, *flow_masks.READS),
            needs=(POINTS, GROUPS),
            writes=(LABELS, *OFFICIAL),
        ),
    )


# ----------------------------------------------------------------------------- group


def _group(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    tracks = read_points(clip, folder.path)
    found = clip_groups.group_clip(
        tracks,
        clip.num_frames,
        lengths=tuple(config.group.lengths),
        piece=config.group.piece,
        overlap=config.group.overlap,
        settings=motion_config.group_settings(config),
        still_of=_still(config, clip, tracks) if config.still.check else None,
        part_of=_part_of(config),
        seed=config.seed,
        progress=progress,
    )
    point_files.write_groups(folder.path / GROUPS, found)
    return []


def _part_of(config: Any) -> PartOf | None:
    if config.group.by == "affinity":
        return None
    return functools.partial(
        lowrank_groups.low_rank_parts,
        settings=motion_config.low_rank_settings(config),
    )


def _still(config: Any, clip: Clip, tracks: PointTracks) -> clip_groups.StillOf:
    """What the images say; those of a window are kept."""
    frames = clip.frames
    assert frames is not None

    @functools.lru_cache(max(config.group.lengths))
    def details_of(t: int) -> np.ndarray | None:
        try:
            return still_points.details(frames[t])
        except FrameError:
            return None

    return functools.partial(
        still_points.find_still,
        tracks=tracks,
        details_of=details_of,
        settings=motion_config.still_settings(config),
    )


# ----------------------------------------------------------------------------- masks


def _masks(
    config: Any, clip: Clip, folder: ClipFolder, progress: Progress
) -> list[SkippedFrame]:
    assert clip.frames is not None
    tracks = read_points(clip, folder.path)
    group = point_files.read_groups(folder.path / GROUPS, len(tracks))
    arrays.make_folder(folder.path / LABELS)
    skipped = []
    count = max(int(group.max(initial=0)), 0) + 1
    if config.show.official and count > motion_results.OFFICIAL:
        raise UsageError(
            f"{clip.name}: {count - 1} groups; the published files hold "
            f"{motion_results.OFFICIAL - 1}: --config.show.official=False, or a larger "
            "config.group.least"
        )
    found = group_masks.soft_masks(
        clip.frames, tracks, group, count, motion_config.mask_settings(config)
    )
    for frame in found:
        if frame.skipped is not None:
            skipped.append(frame.skipped)
        labels = frame.labels
        if labels is None:
            continue
        name = clip.frame_ids[frame.frame_idx]
        images.write_labels(folder.path / LABELS / f"{name}.png", labels)
        if config.show.official:
            scores = frame.planes(count)
            assert scores is not None
            soft = SoftMasks(1 - scores[0], scores)
            motion_results.write_frame(
                folder.path / "official", clip.name, name, soft, labels
            )
        progress(frame.frame_idx + 1, clip.num_frames)
    return skipped
