"""Pictures of motion segmentation: flow, point tracks by group, masks, verdicts."""

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from egojax.apps.field_frames import enlarged, sheet, verdict
from egojax.apps.looks import Color, Look, nth_color
from egojax.apps.viz import NEUTRAL, draw_segments
from egojax.data import arrays, images, point_files
from egojax.data.stream import host_frames
from egojax.data.video import VideoWriter
from egojax.errors import FrameError
from egojax.tasks.motion_folder import GROUPS, LABELS, read_flow, read_points
from egojax.types import Clip, PointTracks, SkippedFrame

TRAIL = 8  # Frames of a point's path that are drawn.
WIDTH = 480  # Of a tile of the video, pixels.
UNKNOWN_COLOR: Color = (120, 120, 120)


class Found(NamedTuple):
    """What a run has found of a clip."""

    clip: Clip
    folder: pathlib.Path
    tracks: PointTracks  # Without points none.
    group: np.ndarray
    num_groups: int  # Bodies, without what rests.
    has_points: bool = True

    def labels(self, t: int) -> np.ndarray | None:
        """The masks of a frame; None where there are none."""
        path = self.folder / LABELS / f"{self.clip.frame_ids[t]}.png"
        size_hw = tuple(self.clip.size_hw)
        return images.read_labels(path, size_hw) if path.exists() else None

    def flow(self, t: int) -> np.ndarray | None:
        """To the next frame; None at the end."""
        return read_flow(self.clip, self.folder, 1, t)


def read_found(clip: Clip, folder: pathlib.Path, has_points: bool = True) -> Found:
    """Reads a clip's folder.

    Args:
      has_points: Whether masks are of point tracks; else of flow alone.

    Raises:
      UsageError: a file is damaged.
    """
    if has_points:
        tracks = read_points(clip, folder)
        group = point_files.read_groups(folder / GROUPS, len(tracks))
        bodies = max(int(group.max(initial=0)), 0)
        return Found(clip, folder, tracks, group, bodies)
    none = np.zeros(0, np.int32)
    tracks = PointTracks(none, none, np.zeros((0, 2), np.float32), clip.size_hw)
    return Found(clip, folder, tracks, none, _most_bodies(clip, folder), False)


def _most_bodies(clip: Clip, folder: pathlib.Path) -> int:
    most = 0
    for name in clip.frame_ids:
        # What cannot be read is told where it is drawn.
        with contextlib.suppress(FrameError):
            labels = images.read_labels(folder / LABELS / f"{name}.png")
            most = max(most, int(labels.max()))
    return most


def color_of(group: int) -> Color:
    """Of a body: 1 is the first of the palette."""
    return nth_color(group - 1) if group > 0 else NEUTRAL


def track_picture(
    image: np.ndarray, found: Found, t: int, width: int = WIDTH
) -> np.ndarray:
    """Points of a frame over a dim photo, with their paths, by colour of their group.

    What rests is small and gray, points without a group are dark.
    """
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    scale = width / image.shape[1]
    dim = np.repeat((0.55 * gray).astype(np.uint8)[..., None], 3, axis=2)
    canvas = enlarged(dim, width)
    seen, places = found.tracks.at(t)
    ages = t - found.tracks.first[seen]
    rows = found.tracks.offset[seen] + ages
    for n in np.argsort(found.group[seen], kind="stable"):
        group, row, place = int(found.group[seen[n]]), int(rows[n]), places[n]
        color = color_of(group) if group >= 0 else UNKNOWN_COLOR
        age = min(int(ages[n]), TRAIL)
        if group > 0 and age:
            path = found.tracks.xy[row - age : row + 1] * scale
            line = [np.round(path * 16).astype(np.int32)]
            cv2.polylines(canvas, line, False, color, 1, cv2.LINE_AA, 4)
        at = tuple(np.round(place * scale * 16).astype(int).tolist())
        radius = 40 if group > 0 else 20
        cv2.circle(canvas, at, radius, color, -1, cv2.LINE_AA, 4)
    return canvas


def mask_picture(
    image: np.ndarray, labels: np.ndarray, width: int = WIDTH
) -> np.ndarray:
    """Masks over a photo, each with its number."""
    ids = [int(i) for i in np.unique(labels) if i > 0]
    look = Look({i: color_of(i) for i in ids}, {i: str(i) for i in ids})
    shown = {i: i for i in ids}
    return draw_segments(image, labels, shown, look, width=width)


def flow_picture(flow: np.ndarray) -> np.ndarray:
    """Direction as hue, length as strength; the longest tenth is full."""
    length = np.linalg.norm(flow, axis=-1)
    largest = max(float(np.percentile(length, 90)), 1e-3)
    turn = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1
    hsv = np.empty((*length.shape, 3), np.uint8)
    hsv[..., 0] = turn * 180
    hsv[..., 1] = 255 * np.clip(length / largest, 0, 1)
    hsv[..., 2] = 255
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def verdict_picture(
    image: np.ndarray, labels: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """Where masks, all together, agree with the truth."""
    return verdict(image, (labels > 0).astype(np.float32), truth > 0)


def write_overlay(
    path: pathlib.Path,
    found: Found,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[SkippedFrame]:
    """Writes the video of a clip: its tracks beside its masks, frame by frame.

    Returns:
      The frames that could not be read; they are left out.
    """
    clip, skipped = found.clip, []
    arrays.make_folder(path.parent)
    with VideoWriter(path, clip.fps) as video:
        for row in host_frames(clip, ["frames"]):
            t = row.frame_idx
            try:
                page = None if row.skipped else _page(found, t, row.layers)
            except FrameError as err:
                skipped.append(SkippedFrame(t, str(err)))
                continue
            if row.skipped is not None:
                skipped.append(row.skipped)
            if page is not None:
                video.write(page)
            if progress is not None:
                progress(t + 1, clip.num_frames)
    return skipped


def _page(found: Found, t: int, layers: Mapping[str, Any]) -> np.ndarray | None:
    image, labels = layers["frames"], found.labels(t)
    if image is None:
        return None
    if labels is None:
        labels = np.zeros(image.shape[:2], np.int32)
    clock = f"{found.clip.frame_ids[t]}   {t / found.clip.fps:.1f} s"
    first, name = track_picture(image, found, t), "Tracks"
    if not found.has_points:
        flow = found.flow(t)
        still = np.zeros((*image.shape[:2], 2), np.float32)
        first = enlarged(flow_picture(still if flow is None else flow), WIDTH)
        name = "Flow"
    pictures = [first, mask_picture(image, labels)]
    return sheet([(pictures, [f"{name}   {clock}", "Masks"])], WIDTH)
