"""The views of a clip: bounds, slot and split of each frame, for radiance fields.

Data sets that come with them have them from their reader; here they are computed, for
any clip with poses.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from egojax.data import images, values
from egojax.errors import FrameError, UsageError
from egojax.ops import scene_bounds
from egojax.ops.scene_bounds import Bounds, Slots
from egojax.types import Clip, Source, View

SPLITS = ("train", "val", "test")
NO_POINTS = "no points at two depths before its camera: no near and far"
NEAR_FLOOR = 0.05  # Quantile of near over the video, below which no frame's goes.


def with_views(
    clip: Clip,
    every: int = 8,
    num_slots: int | None = None,
    *,
    slots: Slots = "linear",
    near: float | None = None,
    far: float | None = None,
    near_floor: float = NEAR_FLOOR,
    split: Mapping[str, Collection[str]] | None = None,
) -> Clip:
    """A clip with `views`; one that has them is returned as it is.

    A frame without a pose has none. One whose bounds are not to be told raises
    `FrameError` when its view is read; both are left out when frames are counted.

    Args:
      clip: With cameras; with points or a mesh, unless `near` and `far` are given.
      every: As in `scene_bounds.split_frames`.
      num_slots, slots: As in `scene_bounds.slots`, of the last numbers in the names of
        frames; of their places, where these numbers do not grow.
      near, far: Of all frames, world units; None = by the points, as `near_far` does.
      near_floor: Quantile over the video below which no near by points goes.
      split: Names of frames by split, instead of `every`; other frames get no view.

    Raises:
      UsageError: no poses, nothing that tells the bounds, no frame to train on, or a
        parameter out of range.
    """
    if clip.views is not None:
        return clip
    problems = _bad_settings(every, near, far, near_floor, split)
    if problems:
        raise UsageError.from_problems(f"{clip.name}: {p}" for p in problems)
    listed = None if split is None else _by_name(split)
    poses, bad = _poses(clip, listed)
    bounds = _bounds(clip, np.array(list(poses.values())), near, far, near_floor)
    is_good = scene_bounds.is_range(bounds)
    bad |= {t: NO_POINTS for t, good in zip(poses, is_good, strict=True) if not good}
    frames = [t for t in poses if t not in bad]
    parts = _split(clip, frames, every, listed)
    places = _slots(clip, frames, num_slots, slots)
    rows = dict(
        zip(
            frames,
            make_views(Bounds(*np.array(bounds)[:, is_good]), places, parts),
            strict=True,
        )
    )
    notes = clip.notes
    if bad:
        first = clip.frame_ids[min(bad)]
        notes = (*notes, f"{len(bad)} frames have no near and far ({first})")
    return clip.replace(views=_source(clip, rows, bad), notes=notes)


def _source(
    clip: Clip, rows: Mapping[int, View], bad: Mapping[int, str]
) -> Source[View | None]:
    def view(t: int) -> View | None:
        if t in bad:
            raise FrameError(f"{clip.name}: frame {clip.frame_ids[t]}: {bad[t]}")
        return rows.get(t)

    return Source(view, clip.num_frames)


def make_views(
    bounds: Bounds, slots: Sequence[int] | np.ndarray, split: Sequence[str]
) -> list[View]:
    """The views of frames, from their columns."""
    rows = zip(bounds.near, bounds.far, slots, split, strict=True)
    return [View(float(n), float(f), int(s), part) for n, f, s, part in rows]


def _bad_settings(
    every: int,
    near: float | None,
    far: float | None,
    near_floor: float,
    split: Mapping[str, Collection[str]] | None,
) -> list[str]:
    problems = []
    if every < 0:
        problems.append(f"every={every}; expected 0 or more")
    for name, value in (("near", near), ("far", far)):
        if value is not None and not (
            values.is_number(value) and 0 < value < scene_bounds.FARTHEST
        ):
            problems.append(
                f"{name}={value!r}; expected a number from 0 to "
                f"{scene_bounds.FARTHEST:g}, in world units"
            )
    if not problems and near is not None and far is not None and near >= far:
        problems.append(f"near={near} and far={far}; expected near < far")
    if not 0 <= near_floor <= 1:
        problems.append(f"near_floor={near_floor}; expected a quantile in 0 to 1")
    unknown = sorted(set(split or ()) - set(SPLITS))
    if unknown:
        problems.append(f"split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    names = [name for part in (split or {}).values() for name in set(part)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        problems.append(f"frame {twice} is in two splits")
    return problems


def _by_name(split: Mapping[str, Collection[str]]) -> dict[str, str]:
    return {name: part for part, names in split.items() for name in names}


def _poses(
    clip: Clip, listed: Mapping[str, str] | None
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """The w2c of frames that have one, and why others cannot be read."""
    poses, bad = {}, {}
    for t, name in enumerate(clip.frame_ids if clip.camera is not None else ()):
        if listed is not None and name not in listed:
            continue
        try:
            camera = clip.camera[t] if clip.camera is not None else None
        except FrameError as err:
            bad[t] = str(err)
            continue
        if camera is not None:
            poses[t] = np.asarray(camera.w2c, np.float64)
    if not poses:
        who = "no frame" if listed is None else f"none of {len(listed)} listed frames"
        raise UsageError(
            f"{clip.name}: {who} has a camera pose; a radiance field needs them "
            "(cameras.json, a COLMAP model, or meta.json)"
        )
    return poses, bad


def _bounds(
    clip: Clip,
    w2c: np.ndarray,
    near: float | None,
    far: float | None,
    near_floor: float,
) -> Bounds:
    points = clip.points
    if points is None and clip.mesh is not None:
        points = clip.mesh.vertices
    has_points = points is not None and len(points) > 0
    if has_points and None in (near, far):
        found = scene_bounds.near_far(points, w2c)
        found = scene_bounds.floor_near(found, near_floor)
    elif None in (near, far):
        raise UsageError(
            f"{clip.name}: no points and no mesh that tell near and far of the frames; "
            "give near and far of all, in world units"
        )
    else:
        found = Bounds(np.zeros(len(w2c)), np.zeros(len(w2c)))
    given = (
        np.full(len(w2c), fixed) if fixed is not None else computed
        for fixed, computed in zip((near, far), found, strict=True)
    )
    bounds = Bounds(*given)
    if not scene_bounds.is_range(bounds).any():
        if near is not None or far is not None:
            low, high = (np.nanmedian(end) for end in bounds)
            raise UsageError(
                f"{clip.name}: near is {low:.3g} and far {high:.3g}, one as given, the "
                "other by the points; give both, in world units"
            )
        raise UsageError(
            f"{clip.name}: no frame has points at two depths before its camera; are "
            "the points in the world of the poses? Else give near and far"
        )
    return bounds


def _split(
    clip: Clip, frames: Sequence[int], every: int, listed: Mapping[str, str] | None
) -> Sequence[str]:
    if listed is None:
        found = scene_bounds.split_frames(len(frames), every)
        why = f"every={every} (config.views.split_nth); 0 trains on all"
    else:
        found = [listed[clip.frame_ids[t]] for t in frames]
        why = "the lists of the split name none with a pose"
    if "train" not in found:
        raise UsageError(
            f"{clip.name}: none of {len(frames)} frames to train on: {why}"
        )
    return found


def _slots(
    clip: Clip, frames: Sequence[int], num_slots: int | None, kind: Slots
) -> np.ndarray:
    numbers = [images.last_number(clip.frame_ids[t]) for t in frames]
    known = [n for n in numbers if n is not None]
    grow = len(known) == len(frames) and bool((np.diff(known) > 0).all())
    try:
        return scene_bounds.slots(known if grow else frames, num_slots, kind)
    except ValueError as err:
        raise UsageError(f"{clip.name}: {err}") from None
