"""A folder of the user's own, a DAVIS-style folder, or a video alone -> Clip.

    FOLDER/frames/           images, or one video file beside the other entries
    FOLDER/labels/           2D segments, FRAME.png (palette, 8 or 16 bit) or FRAME.npy
    FOLDER/segments.json     categories and scores of the segments, see `read_segments`
    FOLDER/features/         appearance: FRAME.npz with `ids` (n,) and `values` (n, D)
    FOLDER/depth/            FRAME.png (16 bit, millimetres), .npy or .npz
    FOLDER/static_depth/     likewise, of the static scene alone
    FOLDER/cameras.json      poses, see `data.poses`; or a COLMAP model in sparse/0,
                             sparse, colmap/sparse/0 or colmap
    FOLDER/mesh.ply, points.ply    the static scene, in the world of the poses
    FOLDER/truth/            labels/, segments.json, depth/: to score against

All but frames or labels is optional. Layers match frames by name ("frame_0012"), or by
their last number where no name matches. Frames of a video are named 000000, 000001, ...
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from egojax.data import aria, arrays, colmap, hot3d, images, ply, poses, video
from egojax.data.values import is_number
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, SegmentFeatures, Segments, Source

NO_POSES = "no camera poses here: tracking runs in the image alone, without 3D"
FPS = 30.0  # Of images, where nobody says.


def read_any(
    path: pathlib.Path | str, name: str = "", fps: float | None = None
) -> Clip:
    """Reads whatever a path holds.

    Args:
      name: Of the clip; that of the file or folder if empty.
      fps: Frames a second of images; what has a rate of its own keeps it.

    A video file; a folder as above; a folder of images; a DAVIS-style sequence
    (`JPEGImages` and `Annotations`, or frames/ and masks/); one sequence of a data set
    in that layout, given as ROOT/JPEGImages/SEQUENCE; HOT3D; Aria Digital Twin.

    Raises:
      UsageError: nothing here that can be read.
    """
    path = pathlib.Path(path)
    name = name or name_of(path)
    if is_video(path):
        return _video_clip(path, name, fps)
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder or video file")
    if hot3d.is_recording(path):
        return _keep_rate(path, hot3d.read_clip(path), fps)
    if aria.is_recording(path):
        return _keep_rate(path, aria.read_clip(path), fps)
    if (path / "JPEGImages").is_dir():
        return _davis_clip(path / "JPEGImages", path / "Annotations", name, fps)
    sub = {entry.name for entry in path.iterdir() if entry.is_dir()}
    if {"frames", "masks"} <= sub and "labels" not in sub:
        return _davis_clip(path / "frames", path / "masks", name, fps)
    if "JPEGImages" in path.parts:
        parts = ["Annotations" if p == "JPEGImages" else p for p in path.parts]
        return _davis_clip(path, pathlib.Path(*parts), name, fps)
    if _has_images(path):
        return _image_clip(path, name, fps)
    return read_folder(path, name, fps)


def is_video(path: pathlib.Path) -> bool:
    """Whether this is a video file."""
    return path.is_file() and path.suffix.lower() in video.VIDEOS


def name_of(path: pathlib.Path) -> str:
    """What a clip here is called: the folder's name, the video's without its suffix."""
    return path.stem if is_video(path) else path.resolve().name


def read_folder(
    folder: pathlib.Path | str, name: str = "", fps: float | None = None
) -> Clip:
    """Reads a folder with the layout of this module; `name`, `fps` as in `read_any`.

    Raises:
      UsageError: there is nothing to read, a file is malformed, or no name of a layer
        matches a frame. Layers that miss some frames are told in `notes`.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    clip = _base_clip(folder, name or name_of(folder), fps)
    clip = _add_maps(folder, clip)
    clip = _add_cameras(folder, clip)
    if (folder / "mesh.ply").exists():
        clip = clip.replace(mesh=ply.read_mesh(folder / "mesh.ply"))
    if (folder / "points.ply").exists():
        clip = clip.replace(points=ply.read_points(folder / "points.ply"))
    if (folder / "truth").is_dir():
        bare = Clip(clip.name, clip.frame_ids, clip.size_hw, clip.fps)
        truth = _add_maps(folder / "truth", bare)
        truth = truth.replace(
            camera=clip.camera,
            metric_scale=clip.metric_scale,
            scale_known=clip.scale_known,
        )
        notes = (*clip.notes, *(f"truth: {note}" for note in truth.notes))
        clip = clip.replace(truth=truth.replace(notes=()), notes=notes)
    return clip


# --------------------------------------------------------------------- frames of a clip


def _base_clip(folder: pathlib.Path, name: str, fps: float | None) -> Clip:
    """A clip with the frames, or with the names of the label maps alone."""
    if (folder / "frames").is_dir():
        return _image_clip(folder / "frames", name, fps)
    films = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in video.VIDEOS]
    if len(films) > 1:
        names = ", ".join(p.name for p in films)
        raise UsageError(f"{folder}: several videos ({names}); keep one")
    if films:
        return _video_clip(films[0], name, fps)
    if (folder / "labels").is_dir():
        found = images.list_frames(folder / "labels", images.LABELS)
        size_hw = images.first_size(list(found.values()), images.read_labels)
        notes = ("no frames here, only labels",)
        return Clip(name, tuple(found), size_hw, fps or FPS, notes=notes)
    raise UsageError(f"{folder}: expected frames/, a video file, or labels/ in it")


def _image_clip(folder: pathlib.Path, name: str, fps: float | None) -> Clip:
    found = images.list_frames(folder, images.IMAGES)
    size_hw = images.first_size(list(found.values()), images.read_image)
    frames = images.file_source(list(found.values()), images.read_image, size_hw)
    notes = (NO_POSES,)
    return Clip(name, tuple(found), size_hw, fps or FPS, frames=frames, notes=notes)


def _video_clip(path: pathlib.Path, name: str, fps: float | None) -> Clip:
    frames, info = video.read_video(path)
    names = tuple(f"{t:06d}" for t in range(info.num_frames))
    clip = Clip(name, names, info.size_hw, info.fps, frames=frames, notes=(NO_POSES,))
    return _keep_rate(path, clip, fps)


def _keep_rate(path: pathlib.Path, clip: Clip, fps: float | None) -> Clip:
    """The clip, told if another rate was asked for than its own."""
    if fps is None or fps == clip.fps:
        return clip
    note = f"{path}: has {clip.fps:g} frames a second of its own; {fps:g} is left aside"
    return clip.replace(notes=(*clip.notes, note))


def _has_images(folder: pathlib.Path) -> bool:
    return any(p.suffix.lower() in images.IMAGES for p in folder.iterdir())


def _davis_clip(
    frames: pathlib.Path, masks: pathlib.Path, name: str, fps: float | None
) -> Clip:
    """Annotations serve as segments and as truth: what differs is the ids."""
    clip = _image_clip(frames, name, fps)
    if not masks.is_dir():
        return clip
    found = images.list_frames(masks, images.LABELS)
    paths, notes = match_frames(masks, clip.frame_ids, found)
    labels = images.file_source(paths, images.read_labels, clip.size_hw)
    truth = clip.replace(labels=labels, notes=())
    return clip.replace(labels=labels, truth=truth, notes=(*clip.notes, *notes))


# ------------------------------------------------------------------------------- layers


def match_frames(
    where: pathlib.Path, frame_ids: Sequence[str], found: Mapping[str, Any]
) -> tuple[list[Any], tuple[str, ...]]:
    """The entry of `found` for each frame (None: has none), and what to tell the user.

    Raises:
      UsageError: no entry matches any frame.
    """
    if not set(found) & set(frame_ids):
        found = _by_number(found, frame_ids)
    if not found:
        raise UsageError(
            f"{where}: no name here is a frame; the frames are {frame_ids[0]} to "
            f"{frame_ids[-1]}"
        )
    known = set(frame_ids)
    paths = [found.get(frame) for frame in frame_ids]
    missing = [frame for frame in frame_ids if frame not in found]
    extra = [key for key in found if key not in known]
    notes = []
    if missing:
        notes.append(f"{where}: nothing for {len(missing)} frames ({_some(missing)})")
    if extra:
        notes.append(f"{where}: {len(extra)} entries are no frames ({_some(extra)})")
    return paths, tuple(notes)


def _by_number(found: Mapping[str, Any], frame_ids: Sequence[str]) -> dict[str, Any]:
    """Entries by the frame with the same last number, where that is unambiguous."""
    frames = {images.last_number(frame): frame for frame in frame_ids}
    numbers = {images.last_number(key) for key in found}
    if None in numbers or len(frames) < len(frame_ids) or len(numbers) < len(found):
        return {}
    renamed = {
        frames.get(images.last_number(key), key): value for key, value in found.items()
    }
    return renamed if set(renamed) & set(frame_ids) else {}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _add_maps(folder: pathlib.Path, clip: Clip) -> Clip:
    """Labels, segments, features and depth of a folder."""
    notes = list(clip.notes)
    layers: dict[str, Any] = {}
    for key, suffixes, read in (
        ("labels", images.LABELS, images.read_labels),
        ("depth", images.DEPTHS, images.read_depth),
        ("static_depth", images.DEPTHS, images.read_depth),
        ("features", (".npz",), read_features),
    ):
        if (folder / key).is_dir():
            found = images.list_frames(folder / key, suffixes)
            paths, told = match_frames(folder / key, clip.frame_ids, found)
            notes += told
            layers[key] = images.file_source(paths, read, clip.size_hw)
            if key == "features":
                layers[key] = _of_one_length(layers[key], paths)
    listed = folder / "segments.json"
    if listed.is_file():
        if "labels" not in layers:
            raise UsageError(f"{listed}: describes label maps, but there is no labels/")
        source, layers["category_names"], told = read_segments(
            listed, clip.frame_ids, layers["labels"]
        )
        notes += told
        layers["segments"] = source
    return clip.replace(notes=tuple(notes), **layers)


def read_features(path: pathlib.Path, size_hw: tuple[int, int]) -> SegmentFeatures:
    """Reads the features of the segments of one frame.

    Raises:
      FrameError: unreadable, of the wrong shapes, or not finite.
    """
    found = images.read_arrays(path)
    ids, values = found.get("ids"), found.get("values")
    if ids is None or values is None or ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise FrameError(f"{path}: expected integer `ids` (n,) and `values` (n, D)")
    if values.ndim != 2 or len(values) != len(ids) or not np.isfinite(values).all():
        raise FrameError(f"{path}: expected finite `values` (n, D), {len(ids)} rows")
    return SegmentFeatures(ids.astype(np.int64), values.astype(np.float32))


def _of_one_length(
    features: Source[Any], paths: Sequence[pathlib.Path | None]
) -> Source[Any]:
    """The features of frames; those of another length than the first are unusable."""
    length, first = 0, None
    for path, found in zip(paths, _readable(features), strict=True):
        if found is not None and len(found.ids):
            length, first = found.values.shape[1], path
            break

    def read(t: int) -> SegmentFeatures | None:
        found = features[t]
        if found is None or not len(found.ids) or found.values.shape[1] == length:
            return found
        raise FrameError(
            f"{paths[t]}: features of {found.values.shape[1]} numbers; those of "
            f"{first} have {length}"
        )

    return Source(read, len(features))


def _readable(source: Source[Any]) -> Iterator[Any]:
    """The frames, None for those that cannot be read."""
    for t in range(len(source)):
        try:
            yield source[t]
        except FrameError:
            yield None


def read_segments(
    path: pathlib.Path, frame_ids: Sequence[str], labels: Source[Any]
) -> tuple[Source[Any], tuple[str, ...], tuple[str, ...]]:
    """Reads categories and scores of segments.

    {"segments": {"12": {"category": "mug", "score": 0.9}},
     "frames": {"frame_0012": [{"id": 12, "category": "mug", "score": 0.9}]}}

    The first holds for the whole clip, the second for a frame; an entry of a frame goes
    first. `score` is 1 if left out. Ids that are not listed have no category (-1) and
    score 1. Categories are numbered in the order of an optional list "categories", else
    by name.

    Returns:
      The segments, the category names, and notes.

    Raises:
      UsageError: malformed, a line for each problem.
    """
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not data.keys() & {"segments", "frames"}:
        raise UsageError(f'{path}: expected an object with "segments" or "frames"')
    problems: list[str] = []
    shared = _entries(path, "segments", data.get("segments", {}), problems)
    frames = data.get("frames", {})
    if not isinstance(frames, dict):
        raise UsageError(f"{path}: frames: expected an object, a list for each frame")
    per_frame = {
        frame: _frame_entries(path, frame, rows, problems)
        for frame, rows in frames.items()
    }
    if problems:
        raise UsageError.from_problems(problems)
    used = {
        kind for table in (shared, *per_frame.values()) for kind, _ in table.values()
    }
    listed = data.get("categories", sorted(used))
    if not isinstance(listed, list) or len(set(map(str, listed))) < len(listed):
        raise UsageError(f"{path}: categories: expected a list of different names")
    unknown = sorted(used - set(listed))
    if unknown:
        raise UsageError(f"{path}: not in categories: {_some(unknown)}")
    number = {kind: index for index, kind in enumerate(listed)}
    rows: list[Any] = [None] * len(frame_ids)
    notes: tuple[str, ...] = ()
    if per_frame:
        rows, notes = match_frames(path, frame_ids, per_frame)

    def read(t: int) -> Segments | None:
        frame = labels[t]
        if frame is None:
            return None
        ids = np.unique(frame)
        ids = ids[ids > 0].astype(np.int64)
        table = {**shared, **(rows[t] or {})}
        found = [table.get(int(i)) for i in ids]
        kinds = [-1 if f is None else number[f[0]] for f in found]
        scores = [1.0 if f is None else f[1] for f in found]
        return Segments(
            ids, np.asarray(kinds, np.int32), np.asarray(scores, np.float32)
        )

    return Source(read, len(frame_ids)), tuple(listed), notes


def _frame_entries(
    path: pathlib.Path, frame: str, rows: Any, problems: list[str]
) -> dict[int, tuple[str, float]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.append(f"{path}: frames.{frame}: expected a list of objects")
        return {}
    keyed = {str(row.get("id")): row for row in rows}
    if len(keyed) < len(rows):
        problems.append(f"{path}: frames.{frame}: an id is listed twice")
    return _entries(path, f"frames.{frame}", keyed, problems)


def _entries(
    path: pathlib.Path, where: str, table: Any, problems: list[str]
) -> dict[int, tuple[str, float]]:
    """Category and score by id; what is wrong goes to `problems`."""
    if not isinstance(table, dict):
        problems.append(f"{path}: {where}: expected an object with a member per id")
        return {}
    out = {}
    for key, entry in table.items():
        spot = f"{path}: {where}.{key}"
        if not (key.isdecimal() and 0 < int(key) < 2**31):
            problems.append(f"{spot}: the id must be a number from 1 to 2^31 - 1")
        elif not isinstance(entry, dict) or not isinstance(entry.get("category"), str):
            problems.append(f"{spot}: expected a category (text)")
        elif not _is_score(entry.get("score", 1.0)):
            problems.append(f"{spot}: score {entry['score']!r} is not in 0 to 1")
        else:
            out[int(key)] = (entry["category"], float(entry.get("score", 1.0)))
    return out


def _is_score(value: Any) -> bool:
    return is_number(value) and 0.0 <= value <= 1.0


def _find_poses(folder: pathlib.Path) -> poses.Poses | None:
    """`cameras.json`, else a COLMAP model where COLMAP puts one."""
    if (folder / "cameras.json").is_file():
        return poses.read_cameras(folder / "cameras.json")
    for place in ("sparse/0", "sparse", "colmap/sparse/0", "colmap"):
        path = folder / place
        if any((path / f"images.{kind}").is_file() for kind in ("bin", "txt")):
            model = colmap.read_model(path)
            cameras = colmap.cameras_by_name(model)
            named = {pathlib.PurePath(k).stem: camera for k, camera in cameras.items()}
            return poses.Poses(path, named, points=model.points, scale_known=False)
    return None


def _add_cameras(folder: pathlib.Path, clip: Clip) -> Clip:
    found = _find_poses(folder)
    if found is None:
        return clip
    cameras, told = match_frames(found.path, clip.frame_ids, found.cameras)
    bad = sorted({c.size_hw for c in cameras if c is not None} - {clip.size_hw})
    if bad:
        raise UsageError(
            f"{found.path}: cameras for images of {bad[0][1]} x {bad[0][0]}; the "
            f"frames are {clip.size_hw[1]} x {clip.size_hw[0]}"
        )
    return clip.replace(
        camera=Source.of(cameras),
        metric_scale=found.metric_scale,
        scale_known=found.scale_known,
        points=found.points,
        notes=(*(note for note in clip.notes if note != NO_POSES), *told),
    )
