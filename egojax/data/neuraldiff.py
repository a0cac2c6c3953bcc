"""Scenes in the layout of NeuralDiff (EPIC-Diff) -> Clip.

    ROOT/VID/meta.json       poses, bounds and splits, see `data.epic` for the poses
    ROOT/VID/frames/         images, as meta.json names them
    ROOT/VID/annotations/    masks of some frames, named as these: 1 = moving
    ROOT/VID/points.ply      the sparse scene (ours; official scenes have none)

Of meta.json: `ids_all`, `ids_train`, `ids_val`, `ids_test` list ids of frames;
`images`, `poses`, `nears` and `fars` are objects by id. Intrinsics follow from `camera`
and the size of the stored images, or from `intrinsics` where there is no camera.

Source: Tschernezki et al. 2021 (NeuralDiff), dataset/ and utils.py.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from egojax.data import arrays, epic, images, ply, values
from egojax.data.views import SPLITS, make_views
from egojax.data.views import with_views as with_views
from egojax.errors import FrameError, UsageError
from egojax.ops import camera as camera_ops
from egojax.ops import scene_bounds
from egojax.ops.scene_bounds import Bounds
from egojax.types import Clip, Source

# The published scenes of EPIC-Diff: their ids are slots, of which they have 1000.
EPIC_DIFF = (
    *("P01_01", "P03_04", "P04_01", "P05_01", "P06_03"),
    *("P08_01", "P09_02", "P13_03", "P16_01", "P21_01"),
)
NUM_SLOTS = 1000
# The frame from whose viewpoint each scene is shown throughout, in published videos.
_FIXED = (716, 702, 745, 237, 957, 217, 89, 884, 76, 238)
FIXED_VIEWS = dict(zip(EPIC_DIFF, _FIXED, strict=True))
Kind = Literal["auto", "linear", "rank", "id"]


def read_neuraldiff(
    root: pathlib.Path | str,
    vid: str = "",
    *,
    fps: float | None = None,
    slots: Kind = "auto",
    num_slots: int | None = None,
    near_floor: float = 0.0,
) -> Clip:
    """Reads a scene: frames, cameras, points, `views`, and the masks as truth.

    Args:
      root: The folder of scenes, or, without `vid`, that of the scene.
      fps: Frames a second; None = by the name of the video, else 30.
      slots, num_slots: As `scene_bounds.slots` has them; "auto" takes ids as slots
        in a scene of `EPIC_DIFF` where they are below `NUM_SLOTS`, else scales them.
      near_floor: Quantile of near over the video that no frame's goes below.

    Returns:
      The clip with frames in order of id. `truth.streams["dynamic"]` are the masks,
      bool (H, W), None for frames that are not annotated. Without images on disk it has
      no frames, and says so.

    Raises:
      UsageError: malformed; a line for each problem.
    """
    folder = pathlib.Path(root) / vid
    path = folder / "meta.json"
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("poses"), dict):
        raise UsageError(
            f'{path}: expected an object with "poses", "images", "ids_all"'
        )
    check = _Check(path, data)
    ids, split = check.splits()
    bounds = check.bounds(ids)
    places = check.slots(ids, slots, num_slots)
    file, stored = check.poses(ids, folder / "frames")
    if check.problems or file is None:
        raise UsageError.from_problems(check.problems)
    bounds = scene_bounds.floor_near(bounds, near_floor)
    rows = make_views(bounds, places, [split[i] for i in ids])
    clip = _posed_clip(vid or folder.resolve().name, ids, file, stored, fps)
    notes = (*clip.notes, *check.notes)
    clip = clip.replace(views=Source.of(rows), notes=notes)
    if (folder / "points.ply").is_file():
        clip = clip.replace(points=ply.read_points(folder / "points.ply"))
    files = dict(zip(clip.frame_ids, _of_ids(file, ids, file.files), strict=True))
    clip = _with_frames(folder / "frames", files, clip)
    return _with_masks(folder / "annotations", clip)


def _posed_clip(
    name: str,
    ids: Sequence[int],
    file: epic.PoseFile,
    stored: tuple[int, int] | None,
    fps: float | None,
) -> Clip:
    frame_ids = tuple(_of_ids(file, ids, file.names))
    size_hw = stored or file.size_hw
    k = camera_ops.scale_intrinsics(file.intrinsics, file.size_hw, size_hw)
    shared = dataclasses.replace(file.camera, intrinsics=k, size_hw=size_hw)
    poses = _of_ids(file, ids, list(file.w2c))
    cameras = [dataclasses.replace(shared, w2c=w2c) for w2c in poses]
    return Clip(
        name,
        frame_ids,
        size_hw,
        fps or epic.frame_rate(name, frame_ids) or 30.0,
        scale_known=False,
        points=file.points,
        camera=Source.of(cameras),
        notes=file.notes,
    )


def _of_ids(file: epic.PoseFile, ids: Sequence[int], rows: Sequence[Any]) -> list[Any]:
    place = _by_id({key: n for n, key in enumerate(file.keys)})
    return [rows[place[i]] for i in ids]


def _by_id(table: Mapping[str, Any]) -> dict[int, Any]:
    """The table by number; keys that are none are no frames."""
    return {int(k): v for k, v in table.items() if k.isdecimal() and len(k) < 40}


# ----------------------------------------------------------------- images and masks


def _with_frames(folder: pathlib.Path, files: Mapping[str, str], clip: Clip) -> Clip:
    paths = [folder / name for name in files.values()]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        note = f"{folder}: none of the {len(paths)} images is there: poses alone"
        return clip.replace(notes=(*clip.notes, note))
    notes = clip.notes
    if missing:
        first = missing[0].name
        notes = (*notes, f"{folder}: {len(missing)} images are not there ({first})")
    frames = images.file_source(paths, images.read_image, clip.size_hw)
    return clip.replace(frames=frames, notes=notes)


def _with_masks(folder: pathlib.Path, clip: Clip) -> Clip:
    if not folder.is_dir() or not any(folder.iterdir()):
        return clip
    found = images.list_frames(folder, images.IMAGES)
    other = sorted(set(found) - set(clip.frame_ids))
    notes = clip.notes
    if other:
        note = f"{folder}: {len(other)} masks are of no frame ({other[0]})"
        notes = (*notes, note)
    paths = [found.get(name) for name in clip.frame_ids]
    masks = images.file_source(paths, read_dynamic, clip.size_hw)
    truth = Clip(clip.name, clip.frame_ids, clip.size_hw, clip.fps)
    truth = truth.replace(camera=clip.camera, streams={"dynamic": masks})
    return clip.replace(truth=truth, notes=notes)


def read_dynamic(
    path: pathlib.Path, size_hw: tuple[int, int] | None = None
) -> np.ndarray | None:
    """Reads a mask of what moves, bool (H, W); None if it is empty: not annotated.

    Values are 0 and 1, or 0 and 255; a JPEG blurs them, and is cut at half.

    Raises:
      FrameError: unreadable, of other values, or of another size.
    """
    found = images.read_labels(path, size_hw)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        found = (found > 127).astype(np.int32)
    levels = np.unique(found)
    if not (np.isin(levels, (0, 1)).all() or np.isin(levels, (0, 255)).all()):
        raise FrameError(
            f"{path}: values {levels[:4].tolist()}; a mask has 0 and 1, or 0 and 255"
        )
    return found > 0 if found.any() else None


# -------------------------------------------------------------------- checks of a file


class _Check:
    """Takes ids, bounds and poses out of meta.json and collects what is wrong."""

    def __init__(self, path: pathlib.Path, data: Mapping[str, Any]):
        self._path, self._data = path, data
        self.problems: list[str] = []
        self.notes: list[str] = []

    def say(self, where: str, what: str) -> None:
        self.problems.append(f"{self._path}: {where}: {what}")

    def splits(self) -> tuple[list[int], dict[int, str]]:
        """All ids in order, and the split of each."""
        ids = self._ids("ids_all")
        if not ids:
            self.say("ids_all", "no frames")
        if ids != sorted(ids):
            self.notes.append(
                f"{self._path}: ids_all is not in order: splits are not even in time"
            )
        known, split = set(ids), dict[int, str]()
        for name in SPLITS:
            for i in self._ids(f"ids_{name}"):
                if i not in known:
                    self.say(f"ids_{name}", f"{i} is not in ids_all")
                elif i in split:
                    self.say(f"ids_{name}", f"{i} is in ids_{split[i]} as well")
                split.setdefault(i, name)
        for i in ids:
            if i not in split:
                self.say("ids_all", f"{i} is in no split")
        return sorted(ids), split

    def _ids(self, key: str) -> list[int]:
        given = self._data.get(key)
        if not isinstance(given, list) or not all(values.is_int(i) for i in given):
            self.say(key, "expected a list of frame ids, whole numbers")
            return []
        ids = list(dict.fromkeys(given))
        if len(ids) < len(given):
            self.say(key, "an id is listed twice")
        return ids

    def bounds(self, ids: Sequence[int]) -> Bounds:
        """Near and far of each frame; NaN where something is wrong."""
        nears, fars = self._table("nears"), self._table("fars")
        rows = np.full((2, len(ids)), np.nan)
        for n, i in enumerate(ids if nears and fars else ()):
            near, far = nears.get(i), fars.get(i)
            where = f"nears and fars of {i}"
            if not (values.is_number(near) and values.is_number(far)):
                self.say(where, "expected two numbers")
            elif not 0 < near < far < scene_bounds.FARTHEST:
                told = f"0 < near < far < {scene_bounds.FARTHEST:g}"
                self.say(where, f"{near:.6g} and {far:.6g}; expected {told}")
            else:
                rows[:, n] = near, far
        return Bounds(rows[0], rows[1])

    def _table(self, key: str) -> dict[int, Any]:
        """An object by frame id."""
        given = self._data.get(key)
        if isinstance(given, dict) and given:
            return _by_id(given)
        self.say(key, "expected an object by frame id")
        return {}

    def slots(self, ids: Sequence[int], kind: Kind, num: int | None) -> np.ndarray:
        """The slot of each frame."""
        if kind == "auto":
            is_known = self._path.resolve().parent.name in EPIC_DIFF
            fits = bool(ids) and 0 <= ids[0] <= ids[-1] < (num or NUM_SLOTS)
            kind = "id" if is_known and fits else "linear"
        try:
            return scene_bounds.slots(ids, num, kind)
        except ValueError as err:
            self.say("ids_all", str(err))
            return np.zeros(len(ids), np.int64)

    def poses(
        self, ids: Sequence[int], folder: pathlib.Path
    ) -> tuple[epic.PoseFile | None, tuple[int, int] | None]:
        """Poses of all frames, and the size of stored images, None without any."""
        posed = _by_id(self._data["poses"])
        for i in ids:
            if i not in posed:
                self.say("poses", f"no {i}, which is in ids_all")
        stored = self._stored_size(folder)
        try:
            file = epic.parse_poses(self._path, self._data, stored)
        except UsageError as err:
            self.problems += str(err).splitlines()
            return None, stored
        if stored and not is_resized(file.size_hw, stored):
            (h, w), (high, wide) = stored, file.size_hw
            what = f"{wide} x {high} pixels; the images, {w} x {h}, are no scale of it"
            self.say("camera", what)
        return file, stored

    def _stored_size(self, folder: pathlib.Path) -> tuple[int, int] | None:
        named = self._data.get("images")
        paths = []
        for name in named.values() if isinstance(named, dict) else ():
            try:
                arrays.frame_name(name)
            except ValueError:
                continue  # Told by the reader of poses.
            paths.append(folder / name)
        paths = [path for path in paths if os.path.isfile(path)]  # Of any length.
        try:
            return images.first_size(paths, images.read_image) if paths else None
        except UsageError as err:
            self.problems.append(f"{folder}: {err}")
            return None


def is_resized(from_hw: tuple[int, int], to_hw: tuple[int, int]) -> bool:
    """Whether an image of one size is one of the other at some scale, up to a pixel."""
    (high, wide), (height, width) = from_hw, to_hw
    return abs(width * high - height * wide) <= max(*from_hw, *to_hw)
