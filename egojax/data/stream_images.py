"""What a radiance field shows of single frames, on disk.

    FOLDER/FRAME.npz    the fields of `StreamImages` by name: masks and depths, which
                        are scored, in float32, colours and what is like them in float16

A run has such folders in each clip's: `streams/`, every frame as it was seen, and
`fixed/`, its time seen from one viewpoint.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError

NAMES = ("static", "moving", "actor")  # Of streams, in order; baselines lack the last.
WHOLE = ("masks", "depth", "static_depth")
SHAPES = {
    "rgb": (None, None, 3),
    "parts": (None, None, None, 3),
    "masks": (None, None, None),
    "depth": (None, None),
    "static_rgb": (None, None, 3),
    "static_depth": (None, None),
    "uncertainty": (None, None),
}


class StreamImages(NamedTuple):
    """One rendered frame, of P streams; host arrays."""

    rgb: np.ndarray  # (H, W, 3), near [0, 1], not clipped.
    parts: np.ndarray  # (P, H, W, 3), what each stream adds to rgb: they sum to it.
    masks: np.ndarray  # (P, H, W), each stream's weight in a pixel, >= 0, not clipped.
    depth: np.ndarray  # (H, W), camera z, world units.
    static_rgb: np.ndarray  # (H, W, 3), of the static stream alone.
    static_depth: np.ndarray  # (H, W), camera z of that; +inf where nothing is.
    uncertainty: np.ndarray  # (H, W), standard deviation of colours.

    @property
    def dynamic(self) -> np.ndarray:
        """(H, W), the weight of all streams that are not static, not clipped."""
        return self.masks[1:].sum(0)


def write_images(path: pathlib.Path, images: StreamImages) -> None:
    """Writes one frame."""
    with np.errstate(over="ignore"):
        kept = {
            name: image.astype(np.float32 if name in WHOLE else np.float16)
            for name, image in images._asdict().items()
        }
    arrays.write_npz(path, kept)


def read_images(path: pathlib.Path) -> StreamImages:
    """Reads one frame, as float32.

    Raises:
      UsageError: an array is missing, or their sizes do not go together.
    """
    found = arrays.read_npz(path)
    problems = [f"no array {name}" for name in SHAPES if name not in found]
    if not problems:
        size = found["rgb"].shape[:2]
        for name, shape in SHAPES.items():
            start = 1 if shape[:3] == (None, None, None) else 0
            good = found[name].ndim == len(shape)
            if not good or found[name].shape[start : start + 2] != size:
                problems.append(f"{name} is {found[name].shape}, rgb {size}")
    if problems:
        raise UsageError(f"{path}: {'; '.join(problems)}; --only=render makes it again")
    return StreamImages(**{k: found[k].astype(np.float32) for k in SHAPES})
