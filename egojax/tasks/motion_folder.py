"""What the stages of motion segmentation leave in a clip's folder."""

import pathlib
from collections.abc import Sequence

import numpy as np

from egojax.data import flow_files, point_files
from egojax.errors import FrameError, UsageError
from egojax.methods.motion_clips import MotionClip
from egojax.types import Clip, PointTracks, SkippedFrame, Source, WindowTracks

FLOW = "flow"  # A folder for each gap.
POINTS, GROUPS, LABELS = "points.npz", "groups.npz", "labels"
OFFICIAL = ("official/soft", "official/hard", "official/comp")


def flow_folder(gap: int) -> str:
    """Of the flow over so many frames; < 0 = back."""
    return f"{FLOW}/gap{gap}"


def flow_file(folder: pathlib.Path, gap: int, frame_id: str) -> pathlib.Path:
    """Of the flow of a frame."""
    return folder / flow_folder(gap) / f"{frame_id}.npz"


def read_flow(clip: Clip, folder: pathlib.Path, gap: int, t: int) -> np.ndarray | None:
    """The flow of frame t, float32 (H, W, 2); None where there is none.

    Raises:
      FrameError: the file is damaged, or of images of another size.
    """
    path = flow_file(folder, gap, clip.frame_ids[t])
    if not path.exists():
        return None
    flow = flow_files.read_flow(path)
    if flow.shape[:2] != tuple(clip.size_hw):
        (high, wide), (height, width) = flow.shape[:2], clip.size_hw
        raise FrameError(
            f"{path}: flow of {wide} x {high} pixels; the images have {width} x "
            f"{height}; --only=flow writes it again"
        )
    return flow


def flow_of(clip: Clip, folder: pathlib.Path, gap: int) -> Source:
    """The flow of a clip over a gap, frame by frame."""
    return Source(lambda t: read_flow(clip, folder, gap, t), clip.num_frames)


class KnownFlow:
    """The flow of a clip, without what cannot be read, which is told in the end."""

    def __init__(self, clip: Clip, folder: pathlib.Path):
        """Reads nothing yet."""
        self._clip, self._folder = clip, folder
        self._reasons: dict[int, str] = {}

    def __call__(self, gap: int, t: int) -> np.ndarray | None:
        """That of frame t; None where there is none, or none that can be read."""
        try:
            return read_flow(self._clip, self._folder, gap, t)
        except FrameError as err:
            self._reasons[t] = str(err)
            return None

    def skipped(self) -> list[SkippedFrame]:
        """Frames with flow that could not be read so far."""
        return [SkippedFrame(t, why) for t, why in sorted(self._reasons.items())]


def read_points(clip: Clip, folder: pathlib.Path) -> PointTracks:
    """The tracks of a clip.

    Raises:
      UsageError: damaged, or of another clip.
    """
    tracks = point_files.read_points(folder / POINTS, clip.num_frames)
    if tracks.size_hw != tuple(clip.size_hw):
        (high, wide), (height, width) = tracks.size_hw, clip.size_hw
        raise UsageError(
            f"{folder / POINTS}: tracks in images of {wide} x {high} pixels; those of "
            f"{clip.name} have {width} x {height}; --only=tracks writes it again"
        )
    return tracks


def motion_of(
    clip: Clip,
    folder: pathlib.Path,
    gaps: Sequence[int],
    files: Source[WindowTracks | None] | None = None,
) -> MotionClip:
    """The clip with the flow and the tracks of its folder, or with files of a tracker.

    Raises:
      UsageError: the tracks are damaged.
    """
    if clip.frames is None:
        raise UsageError(f"{clip.name}: no images to learn from")
    flows = {
        way * gap: flow_of(clip, folder, way * gap) for gap in gaps for way in (1, -1)
    }
    tracks = read_points(clip, folder)
    return MotionClip(clip.name, clip.frames, flows, tracks, files)
