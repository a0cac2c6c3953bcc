"""From points that know their group to masks of the groups, dense and along edges.

Points lie only where there is texture, some with a wrong group. What they say is spread
over the superpixels of the frame: easily within one colour, hardly across an edge. So a
plain wall is of one group, although no point lies on it, and a few wrong points at the
rim of a moving thing are outvoted by all others of the same wall. Points of things that
lie on plain pixels count less: flow there is that of an edge near by, so a wall around
a thing seems to go with it. The masks of the frame before, carried along by the points,
count as further evidence. A guided filter brings the result to the pixels.

Pixels are (x, y) and (0, 0) is the outer corner of the first one. Group 0 is the
background, 1 to K - 1 are things, -1 is unknown. Scores are float32 (K, H, W), >= 0,
and sum to 1 in every pixel.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from egojax.errors import FrameError
from egojax.methods.frame_nodes import BLUR, FrameNodes, frame_nodes, spread_votes
from egojax.ops.guided import guided_filter
from egojax.ops.harmonic import spread_values
from egojax.types import PointTracks, SkippedFrame, Source

SAME = 5.0  # CIE Lab: how far the colour of a thing changes between two frames.
AROUND = (5, 5)  # Pixels whose contrast a point is followed by.
PLAIN = 0.15  # What is left of a point's weight without any contrast.
FAINT = 0.01  # A group without points that has less of every superpixel is forgotten.


@dataclasses.dataclass(frozen=True)
class MaskSettings:
    """How what the points say is spread."""

    size: int = 6  # Pixels across a superpixel.
    contrast: float = 1.5  # CIE Lab: a difference of colour that is an edge.
    floor: float = 1e-3  # What of a link is left across the sharpest edge.
    evidence: float = 0.07  # A point's weight beside the links of a superpixel.
    detail: float = 8.0  # Gray levels of contrast where a thing's point counts whole.
    memory: float = 0.1  # Weight of the frame before; 0 = each frame for itself.
    radius: int = 4  # Pixels, of the guided filter; 0 = superpixels as they are.
    epsilon: float = 1e-4  # Of the guided filter, for colours in [0, 1].


class MaskState(NamedTuple):
    """What the next frame takes over."""

    nodes: FrameNodes
    scores: np.ndarray  # float64 (S, K)
    point_ids: np.ndarray  # int (N,)
    points_xy: np.ndarray  # float32 (N, 2)


class FrameMasks(NamedTuple):
    """The masks of one frame; None, and the reason, if it cannot be read."""

    frame_idx: int
    scores: np.ndarray | None  # float32 (P, H, W)
    skipped: SkippedFrame | None = None
    groups: np.ndarray = np.zeros(1, np.int64)  # (P,), the group of each; first 0.

    @property
    def labels(self) -> np.ndarray | None:
        """The group with the highest score in each pixel, int32 (H, W)."""
        if self.scores is None:
            return None
        return self.groups[self.scores.argmax(0)].astype(np.int32)

    def planes(self, num_groups: int) -> np.ndarray | None:
        """The scores of all groups, (K, H, W); those of others than `groups` are 0."""
        if self.scores is None:
            return None
        out = np.zeros((num_groups, *self.scores.shape[1:]), self.scores.dtype)
        out[self.groups] = self.scores
        return out


def group_scores(
    image: np.ndarray,
    points_xy: np.ndarray,
    groups: np.ndarray,
    num_groups: int,
    settings: MaskSettings | None = None,
) -> np.ndarray:
    """The groups of all pixels of one frame, from those of its points.

    Args:
      image: uint8 (H, W, 3).
      points_xy: Float (N, 2), pixels; those outside of the image are not used.
      groups: Int (N,), < num_groups; negative = unknown.
      num_groups: K, with the background; >= 1.
      settings: See there.

    Returns:
      Scores, float32 (K, H, W). Without any known point all is background.

    Raises:
      ValueError: shapes do not fit, a point is NaN or a group too large.
    """
    ids = np.arange(len(points_xy))
    settings = settings or MaskSettings()
    return mask_step(None, image, ids, points_xy, groups, num_groups, settings)[1]


def soft_masks(
    frames: Source,
    tracks: PointTracks,
    groups: np.ndarray,
    num_groups: int,
    settings: MaskSettings | None = None,
) -> Iterator[FrameMasks]:
    """Yields the masks of a clip frame by frame; two frames are in memory.

    Of a clip with many groups a frame has masks of those alone that are seen in it.

    Args:
      frames: uint8 (H, W, 3) each; one that cannot be read is told and left out.
      tracks: Points of these frames, in their pixels.
      groups: Int (N,), of each track; negative = unknown.
      num_groups: K, with the background.
      settings: See there.

    Raises:
      ValueError: as of `group_scores`, or tracks and groups do not fit.
    """
    if len(groups) != len(tracks):
        raise ValueError(f"{len(groups)} groups of {len(tracks)} tracks")
    settings = settings or MaskSettings()
    state, shown = None, np.zeros(1, np.int64)
    for t in range(len(frames)):
        try:
            image = frames[t]
        except FrameError as err:
            yield FrameMasks(t, None, SkippedFrame(t, str(err)))
            continue
        ids, xy = tracks.at(t)
        found = groups[ids]
        if found.max(initial=-1) >= num_groups:
            raise ValueError(f"group {found.max()} of num_groups={num_groups}")
        state, shown = _of_frame(state, shown, found)
        plane = np.where(found < 0, -1, np.searchsorted(shown, found))
        state, scores = mask_step(state, image, ids, xy, plane, len(shown), settings)
        yield FrameMasks(t, scores, groups=shown)


def _of_frame(
    state: MaskState | None, shown: np.ndarray, found: np.ndarray
) -> tuple[MaskState | None, np.ndarray]:
    """What the frame before has left, by the groups of this frame, and these groups.

    Args:
      state, shown: Of the frame before.
      found: The groups of the points of this one.
    """
    if state is None:
        return None, np.union1d(0, found[found > 0])
    kept = np.flatnonzero((state.scores.max(0) > FAINT) | np.isin(shown, found))
    groups = np.union1d(np.union1d(0, shown[kept]), found[found > 0])
    scores = np.zeros((len(state.scores), len(groups)))
    scores[:, np.searchsorted(groups, shown[kept])] = state.scores[:, kept]
    return state._replace(scores=scores), groups


def scores_along_edges(
    image: np.ndarray, scores: np.ndarray, settings: MaskSettings | None = None
) -> np.ndarray:
    """Scores that every pixel has, made to follow the edges of the image.

    Args:
      image: uint8 (H, W, 3).
      scores: (K, H, W), >= 0; what a superpixel has in the mean is its evidence.
      settings: See there; `memory` does not count.

    Returns:
      float32 (K, H, W), >= 0, summing to 1 in every pixel.

    Raises:
      ValueError: shapes do not fit.
    """
    if scores.shape[1:] != image.shape[:2]:
        raise ValueError(f"scores {scores.shape} of an image {image.shape}")
    settings = settings or MaskSettings()
    nodes = frame_nodes(image, settings.size, settings.contrast, settings.floor)
    ids, count = nodes.ids.ravel(), len(nodes.color)
    size = np.maximum(np.bincount(ids, minlength=count), 1)
    means = [np.bincount(ids, plane.ravel(), count) / size for plane in scores]
    shares = spread_votes(nodes, settings.evidence * np.stack(means, 1))
    return _to_pixels(image, nodes, shares, settings)


# ----------------------------------------------------------------------- frame by frame


def mask_step(
    state: MaskState | None,
    image: np.ndarray,
    point_ids: np.ndarray,
    points_xy: np.ndarray,
    groups: np.ndarray,
    num_groups: int,
    settings: MaskSettings,
) -> tuple[MaskState, np.ndarray]:
    """The masks of a frame that follows another.

    Args:
      state: What the frame before has left; None = there is none.
      point_ids: Int (N,), names of the points: the same from frame to frame.

    For the rest, returns and errors see `group_scores`.
    """
    _check(image, points_xy, groups, num_groups)
    is_in = _is_inside(points_xy, image.shape[:2])
    ids, points, groups = point_ids[is_in], points_xy[is_in], groups[is_in]
    nodes = frame_nodes(image, settings.size, settings.contrast, settings.floor)
    x, y = np.floor(points).astype(np.int64).T
    at, is_known = nodes.ids[y, x], groups >= 0
    votes = np.zeros((len(nodes.color), num_groups))
    weight = np.where(groups > 0, _detail(image, settings.detail)[y, x], 1.0)
    weight = settings.evidence * weight[is_known]
    np.add.at(votes, (at[is_known], groups[is_known]), weight)
    if state is not None and settings.memory > 0:
        votes += _remembered(state, nodes, ids, points, at, settings)
    scores = spread_votes(nodes, votes)
    state = MaskState(nodes, scores, ids, points)
    return state, _to_pixels(image, nodes, scores, settings)


def _detail(image: np.ndarray, enough: float) -> np.ndarray:
    """How much there is to follow at each pixel, `PLAIN` to 1, float32 (H, W)."""
    if enough <= 0:
        return np.ones(image.shape[:2], np.float32)
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    gray = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), BLUR)
    square = cv2.blur(gray * gray, AROUND) - cv2.blur(gray, AROUND) ** 2
    return np.clip(np.sqrt(np.maximum(square, 0)) / enough, PLAIN, 1)


def _remembered(
    state: MaskState,
    nodes: FrameNodes,
    ids: np.ndarray,
    points: np.ndarray,
    at: np.ndarray,
    settings: MaskSettings,
) -> np.ndarray:
    """What the frame before says of the superpixels of this one, (S, K)."""
    _, now, then = np.intersect1d(ids, state.point_ids, return_indices=True)
    if not len(now):
        return np.zeros((len(nodes.color), state.scores.shape[1]))
    # Superpixels move as the points of their colour do.
    steps, weight = np.zeros((len(nodes.color), 2)), np.zeros(len(nodes.color))
    np.add.at(steps, at[now], state.points_xy[then] - points[now])
    np.add.at(weight, at[now], 1.0)
    steps /= np.maximum(weight, 1.0)[:, None]
    steps = spread_values(nodes.edges, nodes.weights, settings.evidence * weight, steps)
    origin = nodes.center_xy + steps
    height, width = state.nodes.ids.shape
    is_in = _is_inside(origin, (height, width))
    x, y = np.floor(np.clip(origin, 0, [width - 1, height - 1])).astype(np.int64).T
    before = state.nodes.ids[y, x]
    gap = nodes.color - state.nodes.color[before]
    # Another colour is another thing: what is uncovered has no past.
    alike = np.exp(-(gap * gap).sum(1) / (2 * SAME**2))
    return (settings.memory * is_in * alike)[:, None] * state.scores[before]


def _to_pixels(
    image: np.ndarray, nodes: FrameNodes, scores: np.ndarray, settings: MaskSettings
) -> np.ndarray:
    planes = scores.T.astype(np.float32)[:, nodes.ids]
    if settings.radius > 0 and len(planes) > 1:
        guide = image.astype(np.float32) / 255
        planes[1:] = guided_filter(guide, planes[1:], settings.radius, settings.epsilon)
        # The filter is linear and leaves constants: of the sum, this is the rest.
        planes[0] = 1 - planes[1:].sum(0)
        planes = np.maximum(planes, 0)
    return planes / planes.sum(0)


def _is_inside(points_xy: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    x, y = points_xy[:, 0], points_xy[:, 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _check(
    image: np.ndarray, points_xy: np.ndarray, groups: np.ndarray, num_groups: int
) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image {image.dtype} {image.shape}; expected uint8 (H, W, 3)")
    if points_xy.ndim != 2 or points_xy.shape[1] != 2:
        raise ValueError(f"points_xy {points_xy.shape}; expected (N, 2)")
    if groups.shape != (len(points_xy),):
        raise ValueError(f"groups {groups.shape} of {len(points_xy)} points")
    if np.isnan(points_xy).any():
        raise ValueError(f"point {np.isnan(points_xy).any(1).argmax()} is NaN")
    if num_groups < 1 or groups.max(initial=-1) >= num_groups:
        raise ValueError(f"group {groups.max(initial=-1)} of num_groups={num_groups}")
