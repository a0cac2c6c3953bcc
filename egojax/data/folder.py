"""A folder of the user's own, a DAVIS-style folder, or a video alone -> Clip.

    FOLDER/frames/           images; or images/, as COLMAP has them, or images beside
                             the other entries, or one video file there
    FOLDER/labels/           2D segments, FRAME.png (palette, 8 or 16 bit) or FRAME.npy
    FOLDER/segments.json     categories and scores of the segments, see `read_segments`
    FOLDER/features/         appearance: FRAME.npz with `ids` (n,) and `values` (n, D)
    FOLDER/depth/            FRAME.png (16 bit, millimetres), .npy or .npz
    FOLDER/static_depth/     likewise, of the static scene alone
    FOLDER/cameras.json      poses; or a COLMAP model, or EPIC-FIELDS JSON, see
                             `data.folder_poses`
    FOLDER/mesh.ply, points.ply    the static scene, in the world of the poses
    FOLDER/truth/            labels/, segments.json, depth/: to score against

All but frames or labels is optional. Layers match frames by name ("frame_0012"), or by
their last number where no name matches. Frames of a video are named 000000, 000001, ...
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from egojax.data import aria, hot3d, images, ply, video
from egojax.data.folder_poses import find_poses
from egojax.data.frame_tables import match_frames, read_segments
from egojax.data.neuraldiff import is_resized
from egojax.data.resizing import resized_camera
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, SegmentFeatures, Source

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
    for place in (folder / "images", folder):
        if _has_images(place):
            return _image_clip(place, name, fps)
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
    raise UsageError(
        f"{folder}: expected frames/ or images/, images, a video file, or labels/ in it"
    )


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
    if not folder.is_dir():
        return False
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


def _add_cameras(folder: pathlib.Path, clip: Clip) -> Clip:
    found, told = find_poses(folder)
    if found is None:
        return clip.replace(notes=(*clip.notes, *told))
    cameras, missing = match_frames(found.path, clip.frame_ids, found.cameras)
    sizes = {c.size_hw for c in cameras if c is not None} - {clip.size_hw}
    height, width = clip.size_hw
    for high, wide in sorted(sizes):
        text = f"{found.path}: cameras for images of {wide} x {high}; the frames are "
        text += f"{width} x {height}"
        if not is_resized((high, wide), clip.size_hw):
            raise UsageError(text)
        told = (*told, f"{text}, and intrinsics are scaled to these")
    return clip.replace(
        camera=Source.of([c and resized_camera(c, clip.size_hw) for c in cameras]),
        metric_scale=found.metric_scale,
        scale_known=found.scale_known,
        points=found.points,
        notes=(*(n for n in clip.notes if n != NO_POSES), *told, *missing),
    )
