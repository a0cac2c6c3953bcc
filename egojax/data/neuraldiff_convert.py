"""COLMAP models and EPIC-FIELDS poses -> scenes in the layout of NeuralDiff.

    OUT/convert.json    of what and how; written first, so that a run can go on
    OUT/frames/         images under the source's names, resized
    OUT/points.ply      the sparse points
    OUT/meta.json       written last: with it the scene is whole

The layout holds one pinhole camera: images of lenses, or of several cameras, are bent
to the pinhole of `ops.rectify`.

Source: NeuralDiff, colmap_converter/ (formulas of poses, bounds and splits).
Differs: its defects are not copied. `scale` is applied; intrinsics are read by camera
model; sizes are the camera's, in whole pixels; lenses are not dropped; ids are sorted;
images lie in `frames/`; every eighth frame is held out unless told otherwise.
"""

import hashlib
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.data import arrays
from egojax.data.posed_images import PosedImages, find_images, read_posed_images
from egojax.data.rectified_images import Job, write_rectified
from egojax.data.views import NO_POINTS, SPLITS
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.ops import rectify, scene_bounds
from egojax.ops.scene_bounds import Bounds
from egojax.types import Camera


class ConvertedScene(NamedTuple):
    """What a conversion left."""

    folder: pathlib.Path
    num_frames: int
    size_hw: tuple[int, int]  # Of the images.
    skipped: tuple[str, ...]  # Frames that were left out: name and reason.
    notes: tuple[str, ...]


class _Plan(NamedTuple):
    """What is to be done."""

    source: PosedImages
    target: Camera  # The pinhole of all images, at the size of the model's camera.
    size_hw: tuple[int, int]  # Of the images to write.
    bounds: Bounds
    reasons: list[str]  # Why a frame is left out from the start, "" if it is not.
    notes: tuple[str, ...]


def convert_scene(
    model: pathlib.Path | str,
    images: pathlib.Path | str,
    out: pathlib.Path | str,
    *,
    scale: float = 1.0,
    split_nth: int = 8,
    quality: int = 95,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConvertedScene:
    """Converts a scene; the same call again goes on where it was cut off.

    Args:
      model: A COLMAP model's folder, or an EPIC-FIELDS JSON.
      images: Their folder. They may be of another size than the model's cameras, at
        one scale.
      out: An empty or new folder, or that of the same conversion.
      scale: By what the size of the model's camera is divided; rounded down.
      split_nth: As `every` of `scene_bounds.split_frames`.
      quality: Of JPEGs, 1 to 100.
      workers: Images at a time; None = one a processor, up to 8.
      progress: Told how many images are done, and of how many.

    Returns:
      The scene. Images that cannot be read and frames without points in front are left
      out of it, and listed.

    Raises:
      UsageError: malformed input, a parameter out of range, a lens that no pinhole
        shows, no frame to train on, or a folder that holds something else.
    """
    _check_settings(scale, split_nth, quality, workers)
    model, images, out = (pathlib.Path(path) for path in (model, images, out))
    plan = _plan(model, scale, split_nth)
    names = plan.source.names
    paths = find_images(model, images, names)
    _claim(out, _settings(plan, scale, split_nth, quality))
    targets = [out / "frames" / name for name in names]
    rows = zip(paths, targets, plan.source.cameras, plan.reasons, strict=True)
    reasons = write_rectified(
        [Job(*row) for row in rows],
        plan.target,
        plan.size_hw,
        quality=quality,
        workers=workers,
        progress=progress,
    )
    skipped = tuple(f"{n}: {r}" for n, r in zip(names, reasons, strict=True) if r)
    kept = [n for n, reason in enumerate(reasons) if not reason]
    if not kept:
        raise UsageError(
            f"{images}: no image can be converted; the first: {skipped[0]}"
        )
    split = _splits(model, len(kept), split_nth)
    _write_points(out / "points.ply", plan.source.points)
    arrays.write_json(out / "meta.json", _meta(plan, kept, split), indent=None)
    return ConvertedScene(out, len(kept), plan.size_hw, skipped, plan.notes)


def _plan(model: pathlib.Path, scale: float, split_nth: int) -> _Plan:
    source = read_posed_images(model)
    try:
        target = rectify.common_pinhole(source.cameras)
    except ValueError as err:
        raise UsageError(f"{model}: {err}") from None
    high, wide = target.size_hw
    size_hw = (int(high / scale), int(wide / scale))
    if min(size_hw) < 1:
        raise UsageError(f"scale={scale}: leaves no pixel of {wide} x {high}")
    w2c = np.stack([camera.w2c for camera in source.cameras])
    bounds = scene_bounds.near_far(source.points, w2c)
    reasons = ["" if good else NO_POINTS for good in scene_bounds.is_range(bounds)]
    _splits(model, reasons.count(""), split_nth)  # Before hours of work.
    notes = (*source.notes, *_told(source.cameras, target))
    return _Plan(source, target, size_hw, bounds, reasons, notes)


def _check_settings(
    scale: float, split_nth: int, quality: int, workers: int | None
) -> None:
    problems = []
    if not 0 < scale < math.inf:
        problems.append(f"scale={scale}: expected a number > 0")
    if split_nth < 0:
        problems.append(f"split_nth={split_nth}: expected 0 (train on all) or more")
    if not 1 <= quality <= 100:
        problems.append(f"quality={quality}: expected 1 to 100")
    if workers is not None and workers < 1:
        problems.append(f"workers={workers}: expected 1 or more")
    if problems:
        raise UsageError.from_problems(problems)


# --------------------------------------------------------------------- output folder


def _settings(
    plan: _Plan, scale: float, split_nth: int, quality: int
) -> dict[str, Any]:
    """What tells one conversion from another."""
    source, target = plan.source, plan.target
    digest = hashlib.sha256("\0".join(source.names).encode())
    digest.update(np.stack([c.w2c for c in source.cameras]).tobytes())
    digest.update(source.points.tobytes())
    for key in dict.fromkeys(map(rectify.lens_key, (*source.cameras, target))):
        digest.update(repr(key).encode())
    return {
        "source": digest.hexdigest(),
        "scale": scale,
        "split_nth": split_nth,
        "quality": quality,
    }


def _claim(out: pathlib.Path, settings: dict[str, Any]) -> None:
    """Makes the folder, or goes on with that of the same conversion."""
    record = out / "convert.json"
    if record.is_file():
        found = arrays.read_json(record)
        found = found if isinstance(found, dict) else {}
        differs = [key for key in settings if found.get(key) != settings[key]]
        if differs:
            key = differs[0]
            what = (
                "" if key == "source" else f" ({found.get(key)}, not {settings[key]})"
            )
            raise UsageError(
                f"{out}: holds a conversion with another {key}{what}; give another "
                "folder, or remove this one"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out}: there is something here that is no conversion; give another folder"
        )
    arrays.make_folder(out / "frames")
    arrays.write_json(record, settings)


def _write_points(path: pathlib.Path, points: np.ndarray) -> None:
    axes = "".join(f"property double {axis}\n" for axis in "xyz")
    head = "ply\nformat binary_little_endian 1.0\n"
    head += f"element vertex {len(points)}\n{axes}end_header\n"
    arrays.write_bytes(path, head.encode() + points.astype("<f8").tobytes())


# -------------------------------------------------------------------------- meta.json


def _splits(model: pathlib.Path, num_frames: int, split_nth: int) -> tuple[str, ...]:
    found = scene_bounds.split_frames(num_frames, split_nth)
    if "train" not in found:
        raise UsageError(
            f"{model}: of {num_frames} frames with points in front, split_nth="
            f"{split_nth} leaves none to train on; 0 trains on all"
        )
    return found


def _meta(plan: _Plan, kept: Sequence[int], split: Sequence[str]) -> dict[str, Any]:
    """What meta.json holds, of the frames that were kept."""
    source, target, rows = plan.source, plan.target, list(kept)
    ids = [source.ids[n] for n in rows]
    w2c = np.stack([source.cameras[n].w2c for n in rows])
    c2w = camera_ops.c2w_from_opengl(np.linalg.inv(w2c))[:, :3]

    def by_id(values: Sequence[Any]) -> dict[str, Any]:
        return {str(i): value for i, value in zip(ids, values, strict=True)}

    parts = {
        f"ids_{name}": [i for i, part in zip(ids, split, strict=True) if part == name]
        for name in SPLITS
    }
    k = np.asarray(target.intrinsics)
    high, wide = target.size_hw
    params = [float(n) for n in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])]
    stored = camera_ops.scale_intrinsics(k, target.size_hw, plan.size_hw)
    return {
        "ids_all": ids,
        **parts,
        "images": by_id([source.names[n] for n in rows]),
        "poses": by_id(c2w.tolist()),
        "nears": by_id(plan.bounds.near[rows].tolist()),
        "fars": by_id(plan.bounds.far[rows].tolist()),
        "intrinsics": stored.tolist(),
        "image_w": plan.size_hw[1],
        "image_h": plan.size_hw[0],
        "camera": {"model": "PINHOLE", "width": wide, "height": high, "params": params},
    }


def _told(cameras: Sequence[Camera], target: Camera) -> tuple[str, ...]:
    """What the user should know of how images were bent."""
    known = {rectify.lens_key(camera): camera for camera in cameras}
    if list(known) == [rectify.lens_key(target)]:
        return ()
    lenses = sorted({c.lens for c in known.values() if not rectify.is_pinhole(c)})
    what = f"{len(known)} cameras" if len(known) > 1 else "one camera"
    lens = f" and the lens {', '.join(lenses)}" if lenses else ""
    k = np.asarray(target.intrinsics)
    return (
        f"images of {what}{lens} are bent to one pinhole camera: focal lengths "
        f"{k[0, 0]:.6g} and {k[1, 1]:.6g}, centre ({k[0, 2]:.6g}, {k[1, 2]:.6g})",
    )
