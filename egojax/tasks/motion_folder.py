"""What the stages of motion segmentation leave in a clip's folder."""

import pathlib
from collections.abc import Sequence

import numpy as np

from egojax.data import flow_files, point_files
from egojax.errors import UsageError
from egojax.methods.motion_clips import MotionClip
from egojax.types import Clip, Source

FLOW = "flow"  # A folder for each gap.
POINTS, GROUPS, LABELS = "points.npz", "groups.npz", "labels"
OFFICIAL = ("official/soft", "official/hard", "official/comp")


def flow_folder(gap: int) -> str:
    """Of the flow over so many frames; < 0 = back."""
    return f"{FLOW}/gap{gap}"


def flow_file(folder: pathlib.Path, gap: int, frame_id: str) -> pathlib.Path:
    """Of the flow of a frame."""
    return folder / flow_folder(gap) / f"{frame_id}.npz"


def read_flow(folder: pathlib.Path, gap: int, frame_id: str) -> np.ndarray | None:
    """The flow of a frame, float32 (H, W, 2); None where there is none."""
    path = flow_file(folder, gap, frame_id)
    return flow_files.read_flow(path) if path.exists() else None


def flow_of(clip: Clip, folder: pathlib.Path, gap: int) -> Source:
    """The flow of a clip over a gap, frame by frame."""
    return Source(lambda t: read_flow(folder, gap, clip.frame_ids[t]), clip.num_frames)


def motion_of(clip: Clip, folder: pathlib.Path, gaps: Sequence[int]) -> MotionClip:
    """The clip with the flow and the tracks of its folder.

    Raises:
      UsageError: the tracks are damaged.
    """
    if clip.frames is None:
        raise UsageError(f"{clip.name}: no images to learn from")
    flows = {
        way * gap: flow_of(clip, folder, way * gap) for gap in gaps for way in (1, -1)
    }
    tracks = point_files.read_points(folder / POINTS, clip.num_frames)
    return MotionClip(clip.name, clip.frames, flows, tracks)
