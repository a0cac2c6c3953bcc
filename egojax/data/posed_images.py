"""Images with poses: what a COLMAP model or an EPIC-FIELDS JSON says of them."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from egojax.data import colmap, epic
from egojax.data.images import IMAGES, last_number, list_frames, natural_key
from egojax.errors import UsageError
from egojax.types import Camera


class PosedImages(NamedTuple):
    """The images of a model, in order of id."""

    ids: list[int]
    names: list[str]
    cameras: list[Camera]
    points: np.ndarray  # float64 (P, 3), world units; at least one.
    notes: tuple[str, ...]


def read_posed_images(model: pathlib.Path) -> PosedImages:
    """Reads a COLMAP model's folder, or an EPIC-FIELDS JSON.

    Raises:
      UsageError: malformed, without points, or an image is no image by its name.
    """
    if model.is_dir():
        found = colmap.read_model(model)
        cameras, points = colmap.cameras_by_name(found), found.points
    else:
        file = epic.read_poses(model)
        by_name = file.cameras()
        cameras = {
            name: by_name[frame]
            for name, frame in zip(file.files, file.names, strict=True)
        }
        points = np.zeros((0, 3)) if file.points is None else file.points
    problems = [
        f"{model}: {name}: a frame is an image, {', '.join(IMAGES)}"
        for name in cameras
        if pathlib.PurePath(name).suffix.lower() not in IMAGES
    ]
    problems += [
        f"{model}: {name:.80}...: too long for a file's name"
        for name in cameras
        if epic.is_too_long(name)
    ]
    if not len(points):
        problems.append(f"{model}: no points, and near and far follow from these")
    if problems:
        raise UsageError.from_problems(problems)
    ids, notes = _ids(list(cameras))
    names = sorted(ids, key=ids.__getitem__)
    return PosedImages(
        [ids[name] for name in names],
        names,
        [cameras[name] for name in names],
        points,
        notes,
    )


def _ids(names: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The id of each image, and what is told of them.

    The number after the first underscore, as published; else the last number of the
    name; if these are not different for all, the place in order of name.
    """
    numbers = [_number(pathlib.PurePath(name).stem) for name in names]
    known = {n for n in numbers if n is not None}
    if len(known) == len(names):
        return {n: i for n, i in zip(names, numbers, strict=True) if i is not None}, ()
    order = sorted(names, key=natural_key)
    note = "names do not number the frames: ids are their places in order of name"
    return {name: i for i, name in enumerate(order)}, (note,)


def _number(stem: str) -> int | None:
    after = stem.partition("_")[2]
    return int(after) if after.isdecimal() else last_number(stem)


def find_images(
    model: pathlib.Path, folder: pathlib.Path, names: Sequence[str]
) -> list[pathlib.Path]:
    """Where each image is: under its name, or with another suffix.

    Raises:
      UsageError: no such folder, or none of the images is in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    paths = [folder / name for name in names]
    if not all(path.is_file() for path in paths):
        try:
            others = list_frames(folder, IMAGES)
        except UsageError:
            others = {}
        paths = [p if p.is_file() else others.get(p.stem, p) for p in paths]
    if not any(path.is_file() for path in paths):
        raise UsageError(
            f"{folder}: none of the {len(names)} images of {model} is here "
            f"({names[0]}, ...)"
        )
    return paths
