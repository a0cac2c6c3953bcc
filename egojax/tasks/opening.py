"""A clip for tracking: what it is refused for, what is told of it, its scale."""

import math
from typing import Any

import numpy as np

from egojax.data import field_depth, motion_runs
from egojax.data.world import imperfect
from egojax.data.world.faults import Imperfections
from egojax.errors import FrameError, UsageError
from egojax.methods import motion_scores, scale, static_scene
from egojax.methods.lifting import Selection
from egojax.methods.observing import ObserveSettings
from egojax.methods.static_scene import StaticDepth
from egojax.ops.segments import rank_labels
from egojax.types import Clip

NUM_POINT_FRAMES = 8  # In which it is tried whether points tell the alignment.
NUM_FRAMES = 64  # Whose segments are counted before a run; enough to see the share.


def prepared(config: Any, clip: Clip) -> Clip:
    """The clip with depth as bad as is asked for, and cameras without their lens."""
    clip = _corrupted(clip, config)
    if config.depth.use_lens or clip.camera is None:
        return clip
    return clip.replace(
        camera=clip.camera.map(
            lambda camera: camera and static_scene.without_lens(camera)
        )
    )


def _corrupted(clip: Clip, config: Any) -> Clip:
    """True depth made as bad as monocular depth, to be aligned back to the truth."""
    fields = config.data.corrupt_depth
    if not fields.scale:
        return clip
    if clip.depth is None:
        raise UsageError(f"{clip.name}: config.data.corrupt_depth needs true depth")
    faults = Imperfections(
        depth_scale=fields.scale, depth_shift=fields.shift, depth_error=fields.error
    )
    bad = imperfect.monocular(clip.depth, faults, config.seed)
    return clip.replace(depth=bad, static_depth=clip.depth)


def settled(config: Any, clip: Clip) -> Clip:
    """The clip with its metric scale, and with what the user should know in `notes`.

    Raises:
      UsageError: there is nothing to track, or not what the config asks for.
    """
    if config.data.motion:
        clip = _with_motion(config, clip)
    if config.depth.fields:
        clip = field_depth.with_field_depth(clip, config.depth.fields)
    _check_features(config, clip)
    notes = []
    if config.data.name != "world":  # It is drawn, not read: nothing can be wrong.
        notes += _count_segments(config, clip)
    notes += _check_alignment(config, clip)
    number, told = _scale_of(config, clip)
    clip = clip.replace(metric_scale=number, notes=(*clip.notes, *notes, *told))
    if clip.truth is not None:
        clip = clip.replace(truth=clip.truth.replace(metric_scale=number))
    return clip


def _with_motion(config: Any, clip: Clip) -> Clip:
    """The clip with motion groups as its segments; what never moves is no miss."""
    drawn = config.world if config.data.name == "world" else None
    clip = motion_runs.with_motion_groups(clip, config.data.motion, drawn)
    if clip.truth is None:
        return clip
    # Groups have no category: nothing is scored by class.
    truth = motion_scores.of_what_moves(clip.truth).replace(segments=None)
    return clip.replace(truth=truth)


def _check_features(config: Any, clip: Clip) -> None:
    kind = config.features.name
    lacks = {
        "file": clip.features is None,
        "descriptor": clip.frames is None or clip.labels is None,
    }
    if lacks.get(kind, False):
        what = {"file": "features", "descriptor": "images and label maps"}[kind]
        raise UsageError(
            f"{clip.name}: config.features.name={kind}, but the clip has no {what}; "
            "leave it at auto"
        )


# ------------------------------------------------------------------------- segments


def _count_segments(config: Any, clip: Clip) -> list[str]:
    """What is told of segments that are left out.

    Raises:
      UsageError: there are none at all to begin with.
    """
    if clip.labels is None:
        if clip.boxes is None:
            raise UsageError(
                f"{clip.name}: nothing to track: the clip has no label maps (labels/)"
            )
        return []
    step = -(-clip.num_frames // NUM_FRAMES)
    some = range(0, clip.num_frames, step)
    tables = [found for t in some if (found := _sizes(clip, t)) is not None]
    if not tables:
        _check_labels(clip)
        return []
    area, is_ignored = (
        np.concatenate(part)
        for part in zip(*(_ignored(config, clip, *t) for t in tables), strict=True)
    )
    small = area <= config.segments.min_pixels
    reasons = [
        f"{small.sum()} of at most {config.segments.min_pixels} px "
        "(config.segments.min_pixels)",
        f"{(is_ignored & ~small).sum()} of ignored categories "
        "(config.segments.ignore_categories)",
    ]
    reasons = [reason for reason in reasons if not reason.startswith("0 ")]
    if not reasons:
        return []
    where = "" if step == 1 else f", in {len(some)} frames looked at"
    return [
        f"{(small | is_ignored).sum()} of {len(area)} segments are left out: "
        f"{', '.join(reasons)}{where}"
    ]


def _sizes(clip: Clip, t: int) -> tuple[int, np.ndarray, np.ndarray] | None:
    """The frame, its segments' ids and their pixels; None where there are no labels."""
    assert clip.labels is not None
    try:
        labels = clip.labels[t]
    except FrameError:
        return None
    if labels is None:
        return None
    ids, ranked = rank_labels(labels)
    return t, ids, np.bincount(ranked.ravel(), minlength=len(ids) + 1)[1:]


def _ignored(
    config: Any, clip: Clip, t: int, ids: np.ndarray, area: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a frame's segments, and whether their category is ignored."""
    names = set(config.segments.ignore_categories)
    kinds = [k for k, name in enumerate(clip.category_names) if name in names]
    if clip.segments is None or not kinds:
        return area, np.zeros(len(ids), bool)
    try:
        table = clip.segments[t]
    except FrameError:
        table = None
    if table is None:
        return area, np.zeros(len(ids), bool)
    return area, np.isin(ids, table.ids[np.isin(table.category, kinds)])


def _check_labels(clip: Clip) -> None:
    """Refuses a clip no label map of which can be read; stops at the first that can."""
    reason = "there is none for any frame"
    for t in range(clip.num_frames):
        try:
            if clip.labels is not None and clip.labels[t] is not None:
                return
        except FrameError as err:
            reason = str(err) if reason.startswith("there") else reason
    raise UsageError(
        f"{clip.name}: nothing to track: none of its label maps can be used; {reason}"
    )


# ---------------------------------------------------------------------------- scale


def _aligns(config: Any, clip: Clip) -> bool:
    """Whether depth is to be aligned to a static scene in the world of the cameras."""
    given = clip.depth is not None and clip.camera is not None
    return given and config.depth.align


def _has_scene(clip: Clip) -> bool:
    return _has_surface(clip) or (clip.points is not None and len(clip.points) > 0)


def _has_surface(clip: Clip) -> bool:
    return clip.mesh is not None or clip.static_depth is not None


def _check_alignment(config: Any, clip: Clip) -> list[str]:
    """What the user should know of how depth is aligned."""
    as_it_is = "depth counts as it is, in world units: "
    if not _aligns(config, clip):
        return []
    if not _has_scene(clip):
        lacks = "there is no mesh, no points and no static depth to align it to"
        return [as_it_is + lacks]
    if not (_has_surface(clip) or config.depth.points == "surface"):
        scales = scale.frame_scales(
            clip, _settings(config), scene_of(config, clip), NUM_POINT_FRAMES
        )
        if np.isnan(scales).all():
            return [
                as_it_is + "the points of the scene tell in no frame how to align it"
            ]
    return []


def _settings(config: Any) -> ObserveSettings:
    return ObserveSettings(
        Selection(),
        space=config.depth.space,
        exclude_segments=config.depth.exclude_segments,
    )


def scene_of(config: Any, clip: Clip) -> StaticDepth | None:
    """The static scene that depth is aligned to, as the config wants it drawn."""
    return static_scene.static_renderer(
        clip,
        config.depth.renderer,
        points=config.depth.points,
        cull=config.depth.cull,
    )


def _scale_of(config: Any, clip: Clip) -> tuple[float, list[str]]:
    """Metres per world unit, and what is told of it.

    What the config says goes before what the data says; where both are silent, depth
    in metres tells, aligned to a scene in world units.
    """
    if config.data.metric_scale is not None:
        return config.data.metric_scale, []
    if clip.scale_known or clip.camera is None:
        return clip.metric_scale, []
    found = None
    if config.depth.space == "depth" and _aligns(config, clip) and _has_scene(clip):
        # Points, not a surface made of them: that bridges what is hollow.
        static = static_scene.static_renderer(clip, config.depth.renderer)
        found = scale.metric_scale(clip, _settings(config), static)
    if found is None or math.isnan(found.value):
        why = ""
        if found is not None and math.isfinite(found.low):
            why = f" (by depth, frames say from {found.low:.4g} to {found.high:.4g} m)"
        return clip.metric_scale, [
            f"nothing says the scale{why}: one world unit counts as a metre; "
            "config.data.metric_scale sets it"
        ]
    return found.value, [
        f"one world unit is {found.value:.4g} m, by depth that is taken to be in "
        f"metres (most frames say {found.low:.4g} to {found.high:.4g}); "
        "config.data.metric_scale sets it"
    ]
