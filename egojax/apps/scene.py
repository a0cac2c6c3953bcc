"""A clip and its tracks in one metric world frame: what the map and the viewer draw."""

from typing import NamedTuple

import numpy as np

from egojax.errors import FrameError
from egojax.types import Clip, TrackTable

MOST_POSES = 2000  # Of a camera path that is drawn.
TRAIL_POINTS = 40  # Of one object's trail, after smoothing.
TRAIL_WINDOW = 5  # Sightings that one point of a trail rests on, at least.


class CameraPath(NamedTuple):
    """Where the camera was."""

    frame_idx: np.ndarray  # int64 (P,), frames with a pose.
    c2w: np.ndarray  # float64 (P, 4, 4), metres.
    fov_y: float  # Radians, of the first pose.

    @property
    def centers(self) -> np.ndarray:
        return self.c2w[:, :3, 3]


class Trail(NamedTuple):
    """Where an object was seen, smoothed: depth is noisy, medians are less so."""

    frame_idx: np.ndarray  # int64 (n,), the middle of each window.
    at: np.ndarray  # float64 (n, 3), metres.

    @property
    def length(self) -> float:
        """Metres travelled along the smoothed trail."""
        return float(np.linalg.norm(np.diff(self.at, axis=0), axis=1).sum())


def read_camera_path(clip: Clip, most: int = MOST_POSES) -> CameraPath | None:
    """Reads at most so many poses, evenly spread; None if there are none."""
    if clip.camera is None:
        return None
    step = max(1, -(-clip.num_frames // most))
    frames, poses, fov_y = [], [], None
    for t in range(0, clip.num_frames, step):
        try:
            camera = clip.camera[t]
        except FrameError:
            continue
        if camera is None:
            continue
        w2c = np.array(camera.w2c, np.float64)
        w2c[:3, 3] *= clip.metric_scale
        if not np.isfinite(w2c).all() or abs(np.linalg.det(w2c[:3, :3])) < 1e-6:
            continue
        frames.append(t)
        poses.append(np.linalg.inv(w2c))
        if fov_y is None:
            focal = float(np.asarray(camera.intrinsics)[1, 1])
            fov_y = 2 * np.arctan(0.5 * clip.size_hw[0] / focal)
    if fov_y is None:
        return None
    return CameraPath(np.array(frames), np.stack(poses), float(fov_y))


def up_direction(c2w: np.ndarray) -> np.ndarray:
    """The vertical of a world that says nothing about it, as a unit vector.

    A head seldom rolls: the cameras' x axes are level, so the vertical is the direction
    they share least. Where they do not tell (a camera that never turned), it is the one
    nearest to the mean of the cameras' own up.
    """
    x, up = c2w[:, :3, 0], -c2w[:, :3, 1].mean(0)
    up = up / max(float(np.linalg.norm(up)), 1e-9)
    spread = x.T @ x / len(x) + 0.05 * (np.eye(3) - np.outer(up, up))
    vertical = np.linalg.eigh(spread)[1][:, 0]
    return vertical if vertical @ up >= 0 else -vertical


def level_axes(up: np.ndarray) -> np.ndarray:
    """Rows right, forward and up of a frame whose third axis is vertical, (3, 3)."""
    start = np.eye(3)[np.abs(up).argmin()]
    right = np.cross(start, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def trails_of(table: TrackTable) -> dict[int, Trail]:
    """The trail of every track that has a location."""
    known = np.isfinite(table.location).all(1) & (table.track_id > 0)
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(table.track_id[rows], kind="stable")]
    tracks, starts = np.unique(table.track_id[rows], return_index=True)
    parts = np.split(rows, starts[1:]) if len(rows) else []
    return {int(i): _trail(table, p) for i, p in zip(tracks, parts, strict=True)}


def _trail(table: TrackTable, rows: np.ndarray) -> Trail:
    count = int(np.clip(len(rows) // TRAIL_WINDOW, 1, TRAIL_POINTS))
    windows = np.array_split(rows, count)
    return Trail(
        np.array([table.frame_idx[w[len(w) // 2]] for w in windows], np.int64),
        np.stack([np.median(table.location[w].astype(float), axis=0) for w in windows]),
    )


class Surface(NamedTuple):
    """Coloured points of the static scene, metres."""

    points: np.ndarray  # float64 (n, 3)
    colors: np.ndarray | None  # uint8 (n, 3)


def surface_points(clip: Clip, count: int = 300_000) -> Surface | None:
    """Points of the mesh, evenly by area, else the sparse points; None without both."""
    if clip.mesh is not None and len(clip.mesh.faces):
        corners = clip.mesh.vertices[clip.mesh.faces].astype(np.float64)
        edges = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
        if not area.sum() > 0:
            return None
        rng = np.random.default_rng(0)
        face = rng.choice(len(area), count, p=area / area.sum())
        weight = rng.dirichlet((1.0, 1.0, 1.0), count)
        points = np.einsum("nk,nkd->nd", weight, corners[face]) * clip.metric_scale
        colors = clip.mesh.colors
        if colors is not None:
            mixed = np.einsum("nk,nkc->nc", weight, colors[clip.mesh.faces[face]])
            colors = mixed.astype(np.uint8)
        return Surface(points, colors)
    if clip.points is not None and len(clip.points):
        return Surface(np.asarray(clip.points, np.float64) * clip.metric_scale, None)
    return None
