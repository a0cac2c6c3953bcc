"""Cameras of a user's folder: `cameras.json`.

    {"size_hw": [256, 456],
     "intrinsics": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
     "lens": "pinhole", "distortion": [],
     "metric_scale": 1.0,
     "frames": {"frame_0012": {"w2c": [[...4], [...4], [...4], [0, 0, 0, 1]]},
                "frame_0013": {"c2w": [[...4], [...4], [...4], [0, 0, 0, 1]]}}}

Pixels and axes as in `egojax.types`: (0, 0) is the outer corner of the first pixel, and
cameras look along +z, x to the right, y down. A frame may bring its own `intrinsics`.
`lens` and the order of `distortion` are those of `ops.lens.LENSES`; coefficients at the
end may be left out. `metric_scale` is metres per world unit; without it the scale is
not known. Frames without a pose are left out.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from egojax.data import arrays, values
from egojax.errors import UsageError
from egojax.ops.lens import LENSES
from egojax.types import Camera


class Poses(NamedTuple):
    """Cameras by name of frame, and what else their file tells."""

    path: pathlib.Path
    cameras: Mapping[str, Camera]
    metric_scale: float = 1.0
    points: np.ndarray | None = None  # float64 (P, 3), of the scene.
    scale_known: bool = True  # False: 1 stands in for the scale.


def read_cameras(path: pathlib.Path) -> Poses:
    """Reads `cameras.json`.

    Raises:
      UsageError: malformed; a line for each problem.
    """
    data = arrays.read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("frames"), dict):
        raise UsageError(f'{path}: expected an object with "frames"; see data/poses.py')
    check = _Check(path)
    size_hw = check.size(data.get("size_hw"))
    lens, coefficients = check.lens(data)
    scale = check.scale(data.get("metric_scale", 1.0))
    shared = None
    if "intrinsics" in data:
        shared = check.intrinsics("intrinsics", data["intrinsics"])
    rows = {
        name: check.frame(name, entry, shared, "intrinsics" in data)
        for name, entry in data["frames"].items()
    }
    if check.problems:
        raise UsageError.from_problems(check.problems)
    cameras = {
        name: Camera(intrinsics, w2c, coefficients, size_hw, lens)
        for name, (intrinsics, w2c) in rows.items()
        if intrinsics is not None and w2c is not None
    }
    return Poses(path, cameras, scale, scale_known="metric_scale" in data)


class _Check:
    """Takes values out of JSON and collects what is wrong with them."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.problems: list[str] = []

    def say(self, where: str, what: str) -> None:
        self.problems.append(f"{self._path}: {where}: {what}")

    def numbers(
        self, where: str, given: Any, shape: tuple[int, ...]
    ) -> np.ndarray | None:
        found = values.numbers(given, shape)
        if found is None:
            self.say(where, values.expected_numbers(shape))
        return found

    def size(self, given: Any) -> tuple[int, int]:
        found = self.numbers("size_hw", given, (2,))
        if found is None:
            return (0, 0)
        if ((found != found.round()) | (found < 1)).any():
            self.say("size_hw", f"{given}: expected whole numbers > 0")
        return int(found[0]), int(found[1])

    def scale(self, given: Any) -> float:
        if values.is_number(given) and 0 < given < math.inf:
            return float(given)
        self.say("metric_scale", f"{given!r}: expected a number > 0")
        return 1.0

    def lens(self, data: dict[str, Any]) -> tuple[str, np.ndarray | None]:
        lens, given = str(data.get("lens", "pinhole")), data.get("distortion", [])
        if lens not in LENSES:
            self.say("lens", f"{lens!r}: known are {', '.join(LENSES)}")
            return lens, None
        count = len(LENSES[lens])
        if isinstance(given, list) and len(given) <= count:
            given = [*given, *[0.0] * (count - len(given))]
        found = self.numbers(f"distortion of {lens}", given, (count,))
        return lens, found if count else None

    def intrinsics(self, where: str, given: Any) -> np.ndarray | None:
        found = self.numbers(where, given, (3, 3))
        if found is None:
            return None
        below = (found[1, 0], found[2, 0], found[2, 1], found[2, 2])
        if below == (0, 0, 0, 1) and found[0, 0] > 0 and found[1, 1] > 0:
            return found
        self.say(where, "expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]]")
        return None

    def frame(
        self, name: str, entry: Any, shared: np.ndarray | None, has_shared: bool
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Intrinsics and w2c of a frame."""
        where = f"frames.{name}"
        if not isinstance(entry, dict) or len(entry.keys() & {"w2c", "c2w"}) != 1:
            self.say(where, "expected w2c or c2w, one of them")
            return None, None
        key = "w2c" if "w2c" in entry else "c2w"
        pose = self.numbers(f"{where}.{key}", entry[key], (4, 4))
        if pose is not None and not is_rigid(pose):
            self.say(f"{where}.{key}", "not a rotation and a translation")
        elif pose is not None and key == "c2w":
            pose = np.linalg.inv(pose)
        if "intrinsics" in entry:
            shared = self.intrinsics(f"{where}.intrinsics", entry["intrinsics"])
        elif not has_shared:
            self.say(where, "no intrinsics, here or for all frames")
        return shared, pose


def is_rigid(poses: np.ndarray) -> np.ndarray:
    """Which of the matrices (*T, 4, 4) are a rotation and a translation, bool (*T,)."""
    turn = poses[..., :3, :3]
    gap = np.abs(turn @ np.swapaxes(turn, -1, -2) - np.eye(3)).max((-1, -2))
    last = np.abs(poses[..., 3, :] - np.array([0.0, 0, 0, 1])).max(-1)
    return (gap < 1e-3) & (last < 1e-9) & (np.linalg.det(turn) > 0)
