"""The official layout of EgoSeg3D: read lazily; tracks and whole clips written into it.

Paths of a video VID of the participant PID, below ROOT:

    meta.json                                       {"rescale_scores": {VID: float}}
    mesh/VID/images/FRAME.jpg, mesh/VID/dense/mesh.ply
    dense/VID/sparse/0, mesh/VID/sparse/0, dense/VID.json     poses, the first there is
    PID/VID/segmaps/NAME/{pred.json, args.json, Annotations/Raw/FRAME.npy}
    PID/VID/depth, mesh_depth/FRAME_depth.npy, features/NAME/FRAME_feat.npy
    PID/VID/visor_DEVA100_segmaps/FRAME.npy, visor/VID_classes.{json,pt}

Without PID/VID, VID alone is tried. Truth labels are VISOR class ids plus 1.

Source: EgoSeg3D, sections 2.10, 2.11 and 3 of its spec.
"""

import functools
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from egojax.data import arrays, colmap, epic, images, pickles, ply
from egojax.data.csv_tables import raise_all
from egojax.data.folder import match_frames
from egojax.data.results import renamed
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, SegmentFeatures, Segments, Source, TrackTable

Frames = dict[str, list[dict[str, Any]]]


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
) -> Clip:
    """Opens one video. Layers that are not there are told in `notes`.

    Args:
      segments: Folder below segmaps/.
      features: Folder below features/.
      truth: Folder of class maps.
      use_rescale: Whether `meta.json` scales the world to metres.

    Raises:
      UsageError: no segments, or a file is malformed.
    """
    root = pathlib.Path(root)
    home = video_folder(root, name)
    frames, labels, rows, names = _read_segmaps(home / "segmaps" / segments)
    clip = Clip(name, frames, _first_size(labels), category_names=names)
    clip = clip.replace(labels=labels, segments=rows, notes=())
    for layer, folder, suffix, read in (
        ("frames", root / "mesh" / name / "images", "", images.read_image),
        ("depth", home / "depth", "_depth", images.read_depth),
        ("static_depth", home / "mesh_depth", "_depth", images.read_depth),
        ("features", home / "features" / features, "_feat", _read_features),
    ):
        clip = _with_layer(clip, layer, folder, suffix, read)
    clip = _with_cameras(root, clip)
    mesh = root / "mesh" / name / "dense" / "mesh.ply"
    if mesh.is_file():
        clip = clip.replace(mesh=ply.read_mesh(mesh))
    if use_rescale:
        clip = _with_scale(root / "meta.json", clip)
    return _with_truth(root, home / truth, clip)


def read_tree(
    folder: pathlib.Path | str,
) -> tuple[tuple[str, ...], Source[Any], Source[Any]]:
    """Names of frames, labels and segments of any official segmaps folder.

    Raises:
      UsageError: `pred.json` is missing or malformed.
    """
    return _read_segmaps(pathlib.Path(folder))[:3]


def video_folder(root: pathlib.Path, name: str) -> pathlib.Path:
    """ROOT/PID/VID, or ROOT/VID where that is not there."""
    home = root / name.split("_")[0] / name
    return home if home.is_dir() or not (root / name).is_dir() else root / name


# ------------------------------------------------------------------------ segments


def _read_segmaps(
    folder: pathlib.Path,
) -> tuple[tuple[str, ...], Source[Any], Source[Any], tuple[str, ...]]:
    path = folder / "pred.json"
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise UsageError(f'{path}: expected "annotations" and "category_name2id"')
    index = data.get("category_name2id", {})
    good = isinstance(index, dict) and sorted(index.values()) == list(range(len(index)))
    if not good:
        raise UsageError(f"{path}: category_name2id: expected numbers 0 to n - 1")
    problems: list[str] = []
    frames: dict[str, Segments] = {}
    for n, entry in enumerate(data["annotations"]):
        try:
            name = pathlib.PurePath(entry["file_name"]).stem
            rows = _segments(entry["segments_info"], len(index))
        except (KeyError, TypeError, ValueError, OverflowError) as err:
            problems.append(f"{path}: annotations[{n}]: {err!r}")
            continue
        if name in frames:
            problems.append(f"{path}: annotations[{n}]: {name} is there twice")
        frames[name] = rows
    if not data["annotations"]:
        problems.append(f"{path}: no frame in it")
    raise_all(path, problems)
    order = sorted(frames, key=images.natural_key)
    paths = [folder / "Annotations" / "Raw" / f"{name}.npy" for name in order]
    labels = Source(lambda t: images.read_labels(paths[t]), len(paths))
    names = tuple(sorted(index, key=index.__getitem__))
    return tuple(order), labels, Source.of([frames[n] for n in order]), names


def _segments(infos: list[dict[str, Any]], num_categories: int) -> Segments:
    ids = np.array([info["id"] for info in infos], np.int64)
    category = np.array([info["category_id"] for info in infos], np.int32)
    score = np.array([info.get("score", 1.0) for info in infos], np.float32)
    if len(set(ids.tolist())) < len(ids) or (ids <= 0).any():
        raise ValueError("ids must be > 0 and differ")
    if ((category < -1) | (category >= num_categories)).any():
        raise ValueError(f"a category_id is not among {num_categories} categories")
    if not ((score >= 0) & (score <= 1)).all():
        raise ValueError("a score is not in [0, 1]")
    return Segments(ids, category, score)


def _first_size(labels: Source[Any]) -> tuple[int, int]:
    reason = ""
    for t in range(len(labels)):
        try:
            return labels[t].shape
        except FrameError as err:
            reason = reason or str(err)
    raise UsageError(f"none of {len(labels)} label maps can be read; first: {reason}")


# -------------------------------------------------------------------- other layers


def _with_layer(
    clip: Clip, layer: str, folder: pathlib.Path, suffix: str, read: Callable[..., Any]
) -> Clip:
    if not folder.is_dir():
        return clip.replace(notes=(*clip.notes, f"no {layer}: {folder} is not there"))
    kinds = images.IMAGES if layer == "frames" else (".npy",)
    found = images.list_frames(folder, kinds)
    stems = {key.removesuffix(suffix): path for key, path in found.items()}
    known = {key: stems[key] for key in clip.frame_ids if key in stems}
    paths, notes = match_frames(folder, clip.frame_ids, known or stems)
    source = images.file_source(paths, read, clip.size_hw)
    return clip.replace(notes=(*clip.notes, *notes), **{layer: source})


def _read_features(path: pathlib.Path, _: tuple[int, int]) -> SegmentFeatures:
    try:
        found = pickles.read_npy_dict(path)
        ids = np.array([int(key) for key in found], np.int64)
        rows = [np.asarray(v, np.float32).reshape(-1) for v in found.values()]
        values = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
    except UsageError as err:
        raise FrameError(str(err)) from None
    except (TypeError, ValueError) as err:
        raise FrameError(f"{path}: expected {{label: (1, D)}} ({err})") from None
    if not np.isfinite(values).all():
        raise FrameError(f"{path}: features that are not finite")
    return SegmentFeatures(ids, values)


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
        cameras = {pathlib.PurePath(n).stem: c for n, c in by_name.items()}
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
        note = f"no scale: {path} is not there; one world unit counts as a metre"
        return clip.replace(notes=(*clip.notes, note))
    data = arrays.read_json(path)
    table = data.get("rescale_scores") if isinstance(data, dict) else None
    if not isinstance(table, dict) or clip.name not in table:
        note = f"no scale: {path} has no rescale_scores.{clip.name}"
        return clip.replace(notes=(*clip.notes, note))
    scale = table[clip.name]
    if not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise UsageError(f"{path}: rescale_scores.{clip.name}: expected a number > 0")
    return clip.replace(metric_scale=float(scale))


# --------------------------------------------------------------------------- truth


def _with_truth(root: pathlib.Path, folder: pathlib.Path, clip: Clip) -> Clip:
    bare = clip.replace(segments=None, features=None, depth=None, notes=())
    read = functools.partial(_read_classes, -1 if folder.name == "visor_segmaps" else 0)
    found = _with_layer(bare.replace(labels=None), "labels", folder, "", read)
    notes = (*clip.notes, *(f"truth: {note}" for note in found.notes))
    if found.labels is None:
        return clip.replace(notes=notes)
    classes = read_classes(root, clip.name)
    index = {classes[n]: k for k, n in enumerate(clip.category_names) if n in classes}

    def segments(labels: np.ndarray | None) -> Segments | None:
        if labels is None:
            return None
        ids = np.setdiff1d(labels, [0]).astype(np.int64)
        category = np.array([index.get(int(i) - 1, -1) for i in ids], np.int32)
        return Segments(ids, category, np.ones(len(ids), np.float32))

    truth = found.replace(segments=found.labels.map(segments), notes=())
    return clip.replace(truth=truth, notes=notes)


def _read_classes(
    background: int, path: pathlib.Path, size_hw: tuple[int, int]
) -> np.ndarray:
    """Class ids plus 1; 0 where there is none."""
    try:
        found = arrays.read_npy(path, size_hw, kinds="iu")
    except UsageError as err:
        raise FrameError(str(err)) from None
    if found.size and (found.min() < -1 or found.max() > 1 << 20):
        raise FrameError(f"{path}: {found.min()} to {found.max()} are no class ids")
    return np.where(found <= background, 0, found.astype(np.int64) + 1).astype(np.int32)


def read_classes(root: pathlib.Path | str, name: str) -> dict[str, int]:
    """VISOR class id by name, from `visor/VID_classes`; empty if it is not there.

    Raises:
      UsageError: malformed.
    """
    folder = pathlib.Path(root) / "visor"
    for path, read in (
        (folder / f"{name}_classes.json", arrays.read_json),
        (folder / f"{name}_classes.pt", pickles.read_pt),
    ):
        if path.is_file():
            try:
                tables = [entry["class2id"] for entry in read(path)["visor"]]
                return {str(n): int(i) for table in tables for n, i in table.items()}
            except (KeyError, TypeError, ValueError, AttributeError) as err:
                raise UsageError(
                    f'{path}: expected "visor", "class2id" ({err})'
                ) from None
    return {}


# ------------------------------------------------------------------------- writing


def write_tracks(
    folder: pathlib.Path | str,
    clip: Clip,
    table: TrackTable,
    args: Mapping[str, Any],
) -> None:
    """Writes `pred.json`, `args.json` and `Annotations/Raw` of tracks.

    Every frame that can be read gets a map, zeros without tracks. A track's category is
    that of its last observation; its places are in metres.

    Args:
      clip: With labels.
    """
    folder = pathlib.Path(folder)
    kept = np.flatnonzero(table.track_id > 0)
    last = {int(table.track_id[n]): int(table.category[n]) for n in kept}
    frames: list[list[dict[str, Any]]] = [[] for _ in clip.frame_ids]
    names: list[dict[int, int]] = [{} for _ in clip.frame_ids]
    for n in kept:
        t, track = int(table.frame_idx[n]), int(table.track_id[n])
        place = np.asarray(table.location[n], float).tolist()
        if track not in names[t].values():  # Two segments may share a track.
            frames[t].append({"category_id": last[track], "id": track, "loc3d": place})
        names[t][int(table.segment_id[n])] = track
    _write_segmaps(folder, clip, frames, names)
    arrays.write_json(folder / "args.json", dict(args))


def _write_segmaps(
    folder: pathlib.Path,
    clip: Clip,
    frames: list[list[dict[str, Any]]],
    names: list[dict[int, int]] | None,
) -> None:
    if clip.labels is None:
        raise UsageError(f"{clip.name}: no labels to write")
    raw = folder / "Annotations" / "Raw"
    raw.mkdir(parents=True, exist_ok=True)
    rows = [
        {"file_name": f"{frame}.jpg", "segments_info": infos}
        for frame, infos in zip(clip.frame_ids, frames, strict=True)
    ]
    index = {name: k for k, name in enumerate(clip.category_names)}
    arrays.write_json(
        folder / "pred.json", {"annotations": rows, "category_name2id": index}
    )
    for t, frame in enumerate(clip.frame_ids):
        try:
            labels = clip.labels[t]
        except FrameError:
            continue
        if labels is None:
            labels = np.zeros(clip.size_hw, np.int32)
        labels = labels if names is None else renamed(labels, names[t])
        arrays.write_npy(raw / f"{frame}.npy", labels.astype(np.uint32))


def write_clip(
    root: pathlib.Path | str,
    clip: Clip,
    segments: str = "deva_OWLv2_s5",
    features: str = "dino_s5",
    truth: str = "visor_DEVA100_segmaps",
) -> None:
    """Writes a clip as the official tree: `read_clip` gives its layers back.

    Frames become JPEG of quality 95, and true objects become classes: those of category
    k have class id k + 1, for 0 is lost in the official maps.

    Raises:
      UsageError: no labels or segments, or a lens that COLMAP's OPENCV does not hold.
    """
    root = pathlib.Path(root)
    home = root / clip.name.split("_")[0] / clip.name
    if clip.segments is None:
        raise UsageError(f"{clip.name}: no segments to write")
    rows = [_infos(clip.segments[t]) for t in range(clip.num_frames)]
    _write_segmaps(home / "segmaps" / segments, clip, rows, None)
    pictures = root / "mesh" / clip.name / "images"
    _write_layer(clip, "frames", pictures, ".jpg", images.write_image)
    for layer, folder in (("depth", "depth"), ("static_depth", "mesh_depth")):
        _write_layer(clip, layer, home / folder, "_depth.npy", arrays.write_npy)
    _write_layer(
        clip, "features", home / "features" / features, "_feat.npy", _write_features
    )
    if clip.mesh is not None:
        import trimesh

        mesh = trimesh.Trimesh(clip.mesh.vertices, clip.mesh.faces, process=False)
        (root / "mesh" / clip.name / "dense").mkdir(parents=True, exist_ok=True)
        data: Any = mesh.export(file_type="ply")
        arrays.write_bytes(root / "mesh" / clip.name / "dense" / "mesh.ply", data)
    if clip.camera is not None:
        model = colmap.from_clip(clip)
        colmap.write_model(root / "dense" / clip.name / "sparse" / "0", model)
        epic.write_poses(root / "dense" / f"{clip.name}.json", model)
    scale = {"rescale_scores": {clip.name: clip.metric_scale}}
    arrays.write_json(root / "meta.json", scale)
    if clip.truth is not None and clip.truth.segments is not None:
        _write_truth(root, home / truth, clip)


def _infos(rows: Segments | None) -> list[dict[str, Any]]:
    if rows is None:
        return []
    table = zip(rows.ids, rows.category, rows.score, strict=True)
    return [
        {"id": int(i), "category_id": int(c), "score": float(s)} for i, c, s in table
    ]


def _write_layer(
    clip: Clip,
    layer: str,
    folder: pathlib.Path,
    suffix: str,
    write: Callable[[pathlib.Path, Any], None],
) -> None:
    source = getattr(clip, layer)
    if source is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(clip.frame_ids):
        value = source[t]
        if value is not None:
            write(folder / f"{frame}{suffix}", value)


def _write_features(path: pathlib.Path, found: SegmentFeatures) -> None:
    table = {int(i): v[None] for i, v in zip(found.ids, found.values, strict=True)}
    buffer = io.BytesIO()
    np.save(buffer, np.array(table, object), allow_pickle=True)
    arrays.write_bytes(path, buffer.getvalue())


def _write_truth(root: pathlib.Path, folder: pathlib.Path, clip: Clip) -> None:
    assert clip.truth is not None
    truth, labels = clip.truth, clip.truth.labels
    if labels is None or truth.segments is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(clip.frame_ids):
        rows = truth.segments[t]
        if rows is not None and labels[t] is not None:
            pairs = zip(rows.ids, rows.category, strict=True)
            classes = renamed(labels[t], {int(i): int(c) + 1 for i, c in pairs})
            arrays.write_npy(folder / f"{frame}.npy", classes.astype(np.int64))
    (root / "visor").mkdir(exist_ok=True)
    names = {name: k + 1 for k, name in enumerate(clip.category_names)}
    path = root / "visor" / f"{clip.name}_classes.json"
    arrays.write_json(path, {"visor": [{"class2id": names}]})
