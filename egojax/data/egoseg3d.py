"""The official layout of EgoSeg3D, read lazily in place.

Paths of a video VID of the participant PID, below ROOT:

    meta.json                                       {"rescale_scores": {VID: float}}
    mesh/VID/images/FRAME.jpg, mesh/VID/dense/mesh.ply
    dense/VID/sparse/0, mesh/VID/sparse/0, dense/VID.json     poses, the first there is
    PID/VID/segmaps/NAME/                           see `data.segmaps`
    PID/VID/depth, mesh_depth, aligned_depth/default: FRAME_depth.npy
    PID/VID/features/NAME/FRAME_feat.npy
    PID/VID/visor_DEVA100_segmaps or visor_segmaps/FRAME.npy
    visor/VID_interpolations.json, VID_classes.json or .pt

Without PID/VID, VID alone is tried. The frames are those of `pred.json`; what a layer
lacks or has beyond them is told in `notes`. Truth labels are VISOR class ids plus 1:
that truth has one object a class.

Source: EgoSeg3D, scripts/tracking.py, scripts/preprocessing/extract_aligned_depth.py
and postprocess_deva_gt.py, which read and write these files.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from egojax.data import arrays, colmap, epic, images, ply, segmaps, visor
from egojax.data.egoseg3d_writing import video_folder
from egojax.data.egoseg3d_writing import write_clip as write_clip
from egojax.data.frame_tables import match_frames
from egojax.data.segmaps import write_tracks as write_tracks
from egojax.data.values import is_number
from egojax.errors import FrameError, UsageError
from egojax.ops.segments import resize_official
from egojax.types import Clip, Segments, Source

LOOKED_INTO = 5  # Maps that tell what their folder's background is.


def videos(root: pathlib.Path | str) -> tuple[str, ...]:
    """Names of the videos with 2D segments, in natural order.

    Raises:
      UsageError: there are none.
    """
    root = pathlib.Path(root)
    found = {p.parent.name for d in ("*", "*/*") for p in root.glob(f"{d}/segmaps")}
    if not found:
        raise UsageError(f"{root}: no video here; expected PID/VID/segmaps in it")
    return tuple(sorted(found, key=images.natural_key))


def read_clip(
    root: pathlib.Path | str,
    name: str,
    segments: str = "deva_OWLv2_s5",
    features: str = "dino_s5",
    truth: str = "visor_DEVA100_segmaps",
    use_rescale: bool = True,
    max_number: int = visor.MAX_FRAME,
    categories: str = "frame",
    frame_mapping: pathlib.Path | str | None = None,
    tap_bug: bool = False,
) -> Clip:
    """Opens one video. Layers that are not there are told in `notes`.

    Monocular depth is `depth`, mesh depth `static_depth`, and depth that was aligned
    elsewhere `streams["aligned_depth"]`.

    Args:
      segments: Folder below segmaps/, or the path of one elsewhere.
      features: Folder below features/.
      truth: Folder of class maps; "A+B": of both the larger class id, which is how
        maps that were extended (A) and VISOR's own (B) become the published truth; or
        "polygons". Where the folder is not there, VISOR's polygons count, as is noted.
      use_rescale: Whether `meta.json` scales the world to metres.
      max_number: Frames with a larger number are left out, as published.
      categories: Of an id: "frame", what each frame lists, or "last", its last listing
        in the whole video (published).
      frame_mapping: VISOR's table of names, if its polygons need it.
      tap_bug: The background of true maps is class 0, "tap", as in the published
        evaluation; all scores then see it as an object.

    Raises:
      UsageError: no segments, or a file is malformed.
    """
    if categories not in ("frame", "last"):
        raise ValueError(f"categories={categories!r}: expected 'frame' or 'last'")
    root = pathlib.Path(root)
    home = video_folder(root, name)
    clip = _with_segments(home / "segmaps" / segments, name, max_number)
    if categories == "last" and clip.segments is not None:
        clip = clip.replace(segments=segmaps.last_categories(clip.segments))
    for layer, folder, suffix, read in (
        ("frames", root / "mesh" / name / "images", "", images.read_image),
        ("depth", home / "depth", "_depth", images.read_depth),
        ("static_depth", home / "mesh_depth", "_depth", images.read_depth),
        ("features", home / "features" / features, "_feat", segmaps.read_features),
    ):
        clip = _with_layer(clip, layer, folder, suffix, read)
    clip = _with_aligned(clip, home / "aligned_depth" / "default")
    clip = _with_cameras(root, clip)
    mesh = root / "mesh" / name / "dense" / "mesh.ply"
    if mesh.is_file():
        clip = clip.replace(mesh=ply.read_mesh(mesh))
    if use_rescale:
        clip = _with_scale(root / "meta.json", clip)
    return _with_truth(root, home / truth, clip, frame_mapping, tap_bug)


def _with_segments(folder: pathlib.Path, name: str, max_number: int) -> Clip:
    tree = segmaps.read_tree(folder)
    clip = Clip(name, tree.frame_ids, tree.size_hw, category_names=tree.category_names)
    clip = clip.replace(labels=tree.labels, segments=tree.segments)
    clip = clip.replace(fps=epic.frame_rate(name, clip.frame_ids) or 30.0)
    numbers = [images.last_number(frame) for frame in clip.frame_ids]
    kept = [t for t, n in enumerate(numbers) if n is None or n <= max_number]
    if not kept:
        raise UsageError(f"{folder}: no frame with a number up to {max_number}")
    if len(kept) < clip.num_frames:
        left = clip.num_frames - len(kept)
        note = f"{folder}: {left} frames beyond number {max_number} are left out"
        clip = clip.select(kept).replace(notes=(note,))
    return clip


# -------------------------------------------------------------------- other layers


def _with_layer(
    clip: Clip, layer: str, folder: pathlib.Path, suffix: str, read: Callable[..., Any]
) -> Clip:
    if not folder.is_dir():
        return clip.replace(notes=(*clip.notes, f"no {layer}: {folder} is not there"))
    source, notes = _layer(clip, layer, folder, suffix, read)
    return clip.replace(notes=(*clip.notes, *notes), **{layer: source})


def _layer(
    clip: Clip, layer: str, folder: pathlib.Path, suffix: str, read: Callable[..., Any]
) -> tuple[Source[Any], tuple[str, ...]]:
    kinds = images.IMAGES if layer == "frames" else (".npy",)
    found = images.list_frames(folder, kinds)
    stems = {key.removesuffix(suffix): path for key, path in found.items()}
    known = {key: stems[key] for key in clip.frame_ids if key in stems}
    paths, notes = match_frames(folder, clip.frame_ids, known or stems)
    return images.file_source(paths, read, clip.size_hw), notes


def _with_aligned(clip: Clip, folder: pathlib.Path) -> Clip:
    if not folder.is_dir():
        return clip
    source, notes = _layer(clip, "aligned_depth", folder, "_depth", _read_aligned)
    streams = {**clip.streams, "aligned_depth": source}
    return clip.replace(streams=streams, notes=(*clip.notes, *notes))


def _read_aligned(path: pathlib.Path, size_hw: tuple[int, int]) -> np.ndarray:
    """Aligned depth, float32; the fit may put a pixel behind the camera: +inf."""
    try:
        found = arrays.read_npy(path, size_hw, kinds="f").astype(np.float32)
    except UsageError as err:
        raise FrameError(str(err)) from None
    return np.where(found > 0, found, np.float32(np.inf))


def _with_cameras(root: pathlib.Path, clip: Clip) -> Clip:
    models = [root / d / clip.name / "sparse" / "0" for d in ("dense", "mesh")]
    table = root / "dense" / f"{clip.name}.json"
    where = next((p for p in [*models, table] if p.exists()), None)
    if where is None:
        return clip.replace(notes=(*clip.notes, f"no poses: {models[0]} is not there"))
    if where == table:
        file = epic.read_poses(table)
        cameras, points = file.cameras(), file.points
    else:
        model = colmap.read_model(where)
        by_name = colmap.cameras_by_name(model)
        cameras = {arrays.frame_name(n): c for n, c in by_name.items()}
        points = model.points
    known = {n: cameras[n] for n in clip.frame_ids if n in cameras}
    rows, notes = match_frames(where, clip.frame_ids, known or cameras)
    other = {c.size_hw for c in rows if c is not None} - {clip.size_hw}
    if other:
        raise UsageError(
            f"{where}: cameras for {other.pop()} (height, width); the label maps have "
            f"{clip.size_hw}"
        )
    return clip.replace(
        camera=Source.of(rows), points=points, notes=(*clip.notes, *notes)
    )


def _with_scale(path: pathlib.Path, clip: Clip) -> Clip:
    if not path.is_file():
        note = f"no scale: {path} is not there"
        return clip.replace(notes=(*clip.notes, note), scale_known=False)
    data = arrays.read_json(path)
    table = data.get("rescale_scores") if isinstance(data, dict) else None
    if not isinstance(table, dict) or clip.name not in table:
        note = f"no scale: {path} has no rescale_scores.{clip.name}"
        return clip.replace(notes=(*clip.notes, note), scale_known=False)
    scale = table[clip.name]
    if not is_number(scale) or not 0 < scale < float("inf"):
        raise UsageError(f"{path}: rescale_scores.{clip.name}: expected a number > 0")
    return clip.replace(metric_scale=float(scale))


# --------------------------------------------------------------------------- truth


def _with_truth(
    root: pathlib.Path,
    folder: pathlib.Path,
    clip: Clip,
    frame_mapping: pathlib.Path | str | None,
    tap_bug: bool,
) -> Clip:
    """The clip with `truth`: class ids plus 1, and the category of each."""
    classes = read_classes(root, clip.name)
    table = root / "visor" / f"{clip.name}_interpolations.json"
    *extended, last = folder.name.split("+")
    folder, original = folder.with_name(last), None
    if extended:
        folder, original = folder.with_name(extended[0]), folder
        if len(extended) > 1 or not (folder.is_dir() and original.is_dir()):
            raise UsageError(f"truth {folder} + {original}: expected two folders")
    if folder.is_dir():
        background = _background(folder)
        label = 1 if tap_bug else 0
        read = functools.partial(_read_classes, background, label, original)
        labels, notes = _layer(clip, "labels", folder, "", read)
        if background == 0 and 0 in classes.values():
            notes = (*notes, f"{folder}: {visor.TAP_DEFECT}")
    elif table.is_file():
        found = visor.read_annotations(table, frame_mapping)
        place = {frame: t for t, frame in enumerate(found.frame_ids)}
        rows, notes = match_frames(table, clip.frame_ids, place)
        labels = Source.of(rows).map(functools.partial(_polygons, clip, found))
        classes = found.classes | classes
        if folder.name != "polygons":
            notes = (*notes, f"no folder {folder}: the polygons of {table.name} count")
    else:
        note = f"no truth: neither {folder} nor {table} is there"
        return clip.replace(notes=(*clip.notes, note))
    index, names, told = _categories(clip, classes)
    truth = clip.replace(
        category_names=names,
        labels=labels,
        segments=labels.map(functools.partial(_true_segments, index)),
        features=None,
        depth=None,
        streams={},
        notes=(),
    )
    notes = tuple(f"truth: {note}" for note in (*notes, *told))
    return clip.replace(truth=truth, notes=(*clip.notes, *notes))


def _polygons(clip: Clip, found: visor.Annotations, t: int | None) -> Any:
    if t is None:
        return None
    return resize_official(found.maps[t], clip.size_hw) + 1


def _background(folder: pathlib.Path) -> int:
    """-1 where the maps hold it, as VISOR's own do; 0 in those that were extended."""
    for path in sorted(folder.glob("*.npy"))[:LOOKED_INTO]:
        try:
            if arrays.read_npy(path, (None, None), kinds="iu").min(initial=0) < 0:
                return -1
        except UsageError:
            continue  # It is told when the frame is read.
    return -1 if folder.name == "visor_segmaps" else 0


def _categories(
    clip: Clip, classes: Mapping[str, int]
) -> tuple[dict[int, int], tuple[str, ...], tuple[str, ...]]:
    """Category by VISOR class, and the clip's names as the truth calls them.

    Several names may be one class: its true objects have the category of the first,
    and the truth calls the others by that name too.
    """
    names: dict[int, list[int]] = {}
    for k, name in enumerate(clip.category_names):
        if name in classes:
            names.setdefault(classes[name], []).append(k)
    notes = tuple(
        f"{', '.join(clip.category_names[k] for k in shared)} are VISOR's class "
        f"{number}: each is scored against all of it"
        for number, shared in names.items()
        if len(shared) > 1
    )
    index = {number: shared[0] for number, shared in names.items()}
    called = tuple(
        clip.category_names[index[classes[name]]] if name in classes else name
        for name in clip.category_names
    )
    return index, called, notes


def _true_segments(
    index: Mapping[int, int], labels: np.ndarray | None
) -> Segments | None:
    if labels is None:
        return None
    ids = np.setdiff1d(labels, [0]).astype(np.int64)
    category = np.array([index.get(int(i) - 1, -1) for i in ids], np.int32)
    return Segments(ids, category, np.ones(len(ids), np.float32))


def _read_classes(
    background: int,
    label: int,
    original: pathlib.Path | None,
    path: pathlib.Path,
    size_hw: tuple[int, int],
) -> np.ndarray:
    """Class ids plus 1; `label` where there is none. Resized if of another size."""
    found = _read_map(path)
    if original is not None and (original / path.name).is_file():
        found = visor.union(found, _read_map(original / path.name))
    found = resize_official(found, size_hw)
    return np.where(found <= background, label, found + 1).astype(np.int32)


def _read_map(path: pathlib.Path) -> np.ndarray:
    try:
        found = arrays.read_npy(path, (None, None), kinds="iu")
    except UsageError as err:
        raise FrameError(str(err)) from None
    if not found.size or max(found.shape) > visor.MAX_SIDE:
        raise FrameError(f"{path}: a map of {found.shape} (height, width)")
    if found.min() < -1 or found.max() >= visor.MAX_CLASS:
        raise FrameError(f"{path}: {found.min()} to {found.max()} are no class ids")
    return found


def read_classes(root: pathlib.Path | str, name: str) -> dict[str, int]:
    """VISOR class id by name, from `visor/VID_classes`; empty if it is not there.

    Raises:
      UsageError: malformed.
    """
    for suffix in (".json", ".pt"):
        path = pathlib.Path(root) / "visor" / f"{name}_classes{suffix}"
        if path.is_file():
            return visor.read_vocabulary(path)
    return {}
