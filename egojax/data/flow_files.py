"""Optical flow on disk: `.flo` files, our smaller ones, and folders as RAFT is run.

    FRAME.flo    little-endian float32 202021.25, int32 width, int32 height, float32
                 (H, W, 2): u, v of each pixel
    FRAME.npz    `flow` int16 (H, W, 2) in 1/32 pixel

    ROOT/Flows_gap1/SEQ/FRAME.flo     or Flows_gap1/1080p/SEQ, Flows_gap1/480p/SEQ
    ROOT/Flows_gap-1/SEQ/FRAME.flo

Flow from frame i to i + g lies under the name of frame i in the folder of gap g, and
flow from i + g back to i under the name of i + g in that of gap -g. Flow is float32
(H, W, 2), pixels.

Source: Karazija et al. 2024 (LRTL), `utils/data.py`; Baker et al. 2007 (`.flo`).
Differs: a file that is cut off or too long is refused.
"""

import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from egojax.data import arrays, images
from egojax.data.frame_tables import match_frames
from egojax.errors import FrameError, UsageError
from egojax.types import Source

MAGIC = np.float32(202021.25)
UNKNOWN = 1e9  # Values of a .flo above it say that nobody knows.
STEPS = 32  # In a pixel, of our files.
LIMIT = 1000  # Pixels: longer flow is cut to it there.
FLOWS = (".flo", ".npz")
SIZES = ("1080p", "480p")  # Folders between that of a gap and that of a sequence.


# ------------------------------------------------------------------- single frames


def read_flow(
    path: pathlib.Path | str, size_hw: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads the flow of a frame, from either kind of file.

    Args:
      size_hw: Give it at this size (see `resize_flow`); None = as it is.

    Raises:
      FrameError: missing, truncated, too long, no flow, or NaN in it.
    """
    path = pathlib.Path(path)
    flow = _read_npz(path) if path.suffix.lower() == ".npz" else _read_flo(path)
    return flow if size_hw is None else resize_flow(flow, size_hw)


def resize_flow(flow: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Flow (H, W, 2) at another size: the nearest pixel's, its vector scaled along."""
    (height, width), (high, wide) = flow.shape[:2], size_hw
    if (height, width) == (high, wide):
        return flow
    rows = np.arange(high) * height // high
    columns = np.arange(wide) * width // wide
    scale = np.array([wide / width, high / height])
    return (flow[rows[:, None], columns] * scale).astype(np.float32)


def write_flow(path: pathlib.Path | str, flow: np.ndarray) -> None:
    """Writes flow in 1/32 pixel; a vector's part beyond 1000 pixels is cut off there.

    Raises:
      ValueError: not (H, W, 2), or NaN in it.
    """
    arrays.write_npz(path, {"flow": to_steps(_checked(path, flow))})


def to_steps(flow: np.ndarray) -> np.ndarray:
    """Flow in steps of 1/32 pixel, int16; cut off as in `write_flow`."""
    limit = LIMIT * STEPS
    return np.clip(np.rint(flow * STEPS), -limit, limit).astype(np.int16)


def from_steps(steps: np.ndarray) -> np.ndarray:
    """Flow in pixels, float32, of steps of 1/32 pixel."""
    return steps.astype(np.float32) / np.float32(STEPS)


def write_flo(path: pathlib.Path | str, flow: np.ndarray) -> None:
    """Writes flow as it is.

    Raises:
      ValueError: not (H, W, 2), or NaN in it.
    """
    flow = _checked(path, flow)
    size = np.array([flow.shape[1], flow.shape[0]], "<i4")
    head = MAGIC.astype("<f4").tobytes() + size.tobytes()
    arrays.write_bytes(path, head + flow.astype("<f4").tobytes(), sync=False)


def _checked(path: pathlib.Path | str, flow: np.ndarray) -> np.ndarray:
    if flow.ndim != 3 or flow.shape[2] != 2 or not flow.size:
        raise ValueError(f"{path}: flow of shape {flow.shape}; expected (H, W, 2)")
    if not np.isfinite(flow).all():
        raise ValueError(f"{path}: flow that is not finite")
    return flow


def _read_flo(path: pathlib.Path) -> np.ndarray:
    try:
        with arrays.open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            height, width = _flo_size(path, head, size)
            data = file.read(8 * height * width)
    except (UsageError, OSError) as err:
        raise FrameError(str(err)) from None
    flow = np.frombuffer(data, "<f4").reshape(height, width, 2).astype(np.float32)
    # NaN, too, is not below.
    if not (np.abs(flow) < UNKNOWN).all():
        raise FrameError(f"{path}: flow that is NaN or unknown (beyond {UNKNOWN:g})")
    return flow


def _flo_size(path: pathlib.Path, head: bytes, size: int) -> tuple[int, int]:
    """Height and width that the head of a file of `size` bytes names."""
    if len(head) < 12:
        raise FrameError(f"{path}: {size} bytes; a .flo file has at least 12")
    magic = np.frombuffer(head, "<f4", 1)[0]
    if magic != MAGIC:
        raise FrameError(f"{path}: starts with {magic:g}; a .flo file with {MAGIC}")
    width, height = np.frombuffer(head, "<i4", 2, 4).tolist()
    if width < 1 or height < 1 or width * height > images.MAX_PIXELS:
        raise FrameError(f"{path}: announces {width} x {height} pixels")
    if size != 12 + 8 * width * height:
        raise FrameError(
            f"{path}: {size} bytes; {width} x {height} pixels, as it announces, take "
            f"{12 + 8 * width * height}"
        )
    return height, width


def _read_npz(path: pathlib.Path) -> np.ndarray:
    flow = images.read_arrays(path).get("flow")
    if flow is None or flow.ndim != 3 or flow.shape[2] != 2 or not flow.size:
        raise FrameError(f"{path}: expected an array `flow` (H, W, 2)")
    if flow.dtype != np.int16:
        raise FrameError(f"{path}: flow is {flow.dtype}; expected int16, 1/32 pixel")
    return from_steps(flow)


# ------------------------------------------------------------------------- folders


def find_flows(root: pathlib.Path | str, sequence: str) -> dict[int, pathlib.Path]:
    """The folder of a sequence's flow for each gap that the root has, nearest first."""
    found = {}
    for folder in sorted(pathlib.Path(root).glob("Flows_gap*")):
        gap = re.fullmatch(r"Flows_gap(-?[1-9]\d{0,3})", folder.name)
        places = (folder / sequence, *(folder / size / sequence for size in SIZES))
        place = next((place for place in places if place.is_dir()), None)
        if gap and place:
            found[int(gap[1])] = place
    return dict(sorted(found.items(), key=lambda item: (abs(item[0]), -item[0])))


def flow_source(
    folder: pathlib.Path | str,
    frame_ids: Sequence[str],
    size_hw: tuple[int, int] | None = None,
) -> Source[np.ndarray | None]:
    """The flow of a folder by frame, at the size asked for; None where there is none.

    Raises:
      UsageError: no flow there, or none is a frame's.
    """
    folder = pathlib.Path(folder)
    # That frames lack flow needs no word: those at the end of each gap have none.
    paths, _ = match_frames(folder, frame_ids, images.list_frames(folder, FLOWS))
    return Source(
        lambda t: None if paths[t] is None else read_flow(paths[t], size_hw),
        len(paths),
    )
