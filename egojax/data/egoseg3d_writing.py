"""Any clip as the official layout of EgoSeg3D: see `data.egoseg3d` for its paths.

Frames are visited once, with all their layers, so that a clip which is rendered while
it is read is rendered once. True objects become classes: those of category k have the
VISOR class k + 1, for class 0 is lost in maps that were extended.
"""

import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from egojax.data import arrays, colmap, epic, images, segmaps, visor
from egojax.errors import FrameError, UsageError
from egojax.ops.segments import renamed
from egojax.types import Clip, Mesh, SkippedFrame

Written = Iterator[tuple[pathlib.Path, Callable[[pathlib.Path, Any], None], Any]]


def video_folder(root: pathlib.Path, name: str) -> pathlib.Path:
    """ROOT/PID/VID, or ROOT/VID where only that is there."""
    home = root / name.split("_")[0] / name
    return home if home.is_dir() or not (root / name).is_dir() else root / name


def write_clip(
    root: pathlib.Path | str,
    clip: Clip,
    segments: str = "deva_OWLv2_s5",
    features: str = "dino_s5",
    truth: str = "visor_DEVA100_segmaps",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SkippedFrame]:
    """Writes a clip as the official tree: `egoseg3d.read_clip` gives its layers back.

    Frames become JPEG of quality 95; true objects become classes, see above.

    Args:
      progress: Told how far it is.

    Returns:
      Frames that could not be read and are not in the tree.

    Raises:
      UsageError: no labels or segments, or a camera that COLMAP does not know.
    """
    root = pathlib.Path(root)
    if clip.labels is None or clip.segments is None:
        raise UsageError(f"{clip.name}: no labels or no segments to write")
    home = root / clip.name.split("_")[0] / clip.name
    tree = segmaps.TreeWriter(home / "segmaps" / segments, clip.category_names)
    names = {k + 1: name for k, name in enumerate(clip.category_names)}
    outlines: list[dict[str, Any]] = []
    skipped = []
    for t, frame in enumerate(clip.frame_ids):
        try:
            labels, rows = clip.labels[t], clip.segments[t]
            layers = list(_layers(root, home, clip, t, features))
            classes = _classes(clip, t)
        except FrameError as err:
            skipped.append(SkippedFrame(t, str(err)))
            continue
        if labels is None:
            labels = np.zeros(clip.size_hw, np.int32)
        tree.add(frame, labels, segmaps.infos_of(rows, labels))
        for path, write, value in layers:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, value)
        if classes is not None:
            _write_classes(home, truth, frame, classes)
            outlines.append(visor.annotate(clip.name, frame, classes, names))
        progress(t + 1, clip.num_frames)
    tree.close()
    _write_world(root, clip)
    if outlines:
        path = root / "visor" / f"{clip.name}_interpolations.json"
        path.parent.mkdir(exist_ok=True)
        visor.write_annotations(path, clip.size_hw, outlines)
        table = path.parent / f"{clip.name}_classes.json"
        arrays.write_json(table, visor.vocabulary(path))
    return skipped


def _layers(
    root: pathlib.Path, home: pathlib.Path, clip: Clip, t: int, features: str
) -> Written:
    """Path, writer and value of each layer that the frame has."""
    frame = clip.frame_ids[t]
    depth = f"{frame}_depth.npy"
    pictures = root / "mesh" / clip.name / "images"
    table: list[tuple[Any, pathlib.Path, Callable[..., None]]] = [
        (clip.frames, pictures / f"{frame}.jpg", images.write_image),
        (clip.depth, home / "depth" / depth, arrays.write_npy),
        (clip.static_depth, home / "mesh_depth" / depth, arrays.write_npy),
        (
            clip.streams.get("aligned_depth"),
            home / "aligned_depth" / "default" / depth,
            _write_aligned,
        ),
        (
            clip.features,
            home / "features" / features / f"{frame}_feat.npy",
            segmaps.write_features,
        ),
    ]
    for source, path, write in table:
        value = None if source is None else source[t]
        if value is not None:
            yield path, write, value


def _write_aligned(path: pathlib.Path, depth: np.ndarray) -> None:
    arrays.write_npy(path, depth.astype(np.float64))


def _write_world(root: pathlib.Path, clip: Clip) -> None:
    """Writes what a clip has once: poses, mesh, scale."""
    mesh = root / "mesh" / clip.name
    if clip.mesh is not None:
        (mesh / "dense").mkdir(parents=True, exist_ok=True)
        arrays.write_bytes(mesh / "dense" / "mesh.ply", _ply(clip.mesh))
    if clip.camera is not None and any(c is not None for c in clip.camera):
        model = colmap.from_clip(clip)
        for folder in (root / "dense" / clip.name, mesh):
            colmap.write_model(folder / "sparse" / "0", model)
        if len(model.cameras) == 1:  # More than that format holds.
            epic.write_poses(root / "dense" / f"{clip.name}.json", model)
    _write_scale(root / "meta.json", clip.name, clip.metric_scale)


def _ply(mesh: Mesh) -> bytes:
    import trimesh

    made = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False
    )
    data: Any = made.export(file_type="ply")
    return data


def _write_scale(path: pathlib.Path, name: str, scale: float) -> None:
    """Adds a video to the table; shards of one job may do so at the same time."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # Until it is closed.
        data = arrays.read_json(path) if path.exists() else {}
        if not isinstance(data, dict):
            raise UsageError(f"{path}: expected an object with rescale_scores")
        table = data.get("rescale_scores", {})
        data["rescale_scores"] = {**table, name: float(scale)}
        arrays.write_json(path, data)
    finally:
        os.close(folder)


# --------------------------------------------------------------------------- truth


def _classes(clip: Clip, t: int) -> np.ndarray | None:
    """The frame's map of true classes, -1 = background; None where nothing is known."""
    truth = clip.truth
    if truth is None or truth.labels is None or truth.segments is None:
        return None
    labels, rows = truth.labels[t], truth.segments[t]
    if labels is None or rows is None:
        return None
    pairs = zip(rows.ids.tolist(), rows.category.tolist(), strict=True)
    classes = renamed(labels, {i: c + 1 for i, c in pairs if c >= 0})
    return np.where(classes == 0, visor.BACKGROUND, classes)


def _write_classes(
    home: pathlib.Path, extended: str, frame: str, classes: np.ndarray
) -> None:
    """Writes the two forms of a class map, with background -1 and with background 0."""
    zero = np.where(classes == visor.BACKGROUND, 0, classes).astype(np.int64)
    for folder, values in {extended: zero, "visor_segmaps": classes}.items():
        (home / folder).mkdir(exist_ok=True)
        arrays.write_npy(home / folder / f"{frame}.npy", values)
