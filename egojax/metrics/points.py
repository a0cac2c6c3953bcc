"""Point tracks: TAP-Vid accuracy, and re-detection after the point was out of sight.

Positions are pixels (x, y) of a 256 x 256 raster. Sums run over the points and frames
of one video; the benchmark is the mean over videos.

Source: Doersch et al. 2022 (TAP-Vid), tapnet evaluation_datasets.py; for AJ_RD the
re-detection benchmark's own code.
Differs: a video in which a number is undefined is skipped in its mean.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np

from egojax.metrics.schema import mean_of_results, nan_mean

THRESHOLDS = (1, 2, 4, 8, 16)  # Pixels.
MIN_GAPS = (1, 4, 16, 64, 256)  # Frames.
QueryMode = Literal["first", "strided"]


class Queries(NamedTuple):
    """Where tracks start."""

    queries_txy: np.ndarray  # float64 (Q, 3)
    track: np.ndarray  # int64 (Q,), which true track each one is on.


def sample_queries(
    tracks_xy: np.ndarray,
    visibility: np.ndarray,
    *,
    mode: QueryMode = "first",
    stride: int = 5,
) -> Queries:
    """The queries of a benchmark.

    Args:
      tracks_xy: True positions (T, N, 2).
      visibility: Booleans (T, N).
      mode: "first": the first visible frame of every track that has one. "strided":
        every `stride` frames, all tracks visible there, frame by frame.
      stride: Frames.
    """
    visible = np.asarray(visibility, bool)
    if mode == "first":
        track = np.flatnonzero(visible.any(axis=0))
        frame = visible.argmax(axis=0)[track]
    else:
        step, track = np.nonzero(visible[::stride])
        frame = step * stride
    positions = np.asarray(tracks_xy, np.float64)[frame, track]
    return Queries(np.column_stack([frame, positions]), track)


def point_accuracy(
    query_frames: np.ndarray,
    true_xy: np.ndarray,
    true_visibility: np.ndarray,
    pred_xy: np.ndarray,
    pred_visibility: np.ndarray,
    *,
    mode: QueryMode = "first",
    per_track: bool = False,
) -> dict[str, Any]:
    """TAP-Vid numbers of one video.

    Args:
      query_frames: Numbers (N,), rounded half to even.
      true_xy: (T, N, 2).
      true_visibility: Booleans (T, N).
      pred_xy: (T, N, 2).
      pred_visibility: Booleans (T, N).
      mode: "first" counts the frames after the query, "strided" all but the query's.
      per_track: Sum over frames alone; values are lists (N,).

    Returns:
      `occlusion_accuracy`, `pts_within_D` and `jaccard_D` for D in 1, 2, 4, 8, 16, and
      their means `average_pts_within_thresh` and `average_jaccard`; NaN for 0/0.
    """
    counted = _counted_frames(query_frames, len(true_xy), mode)
    seen, found = np.asarray(true_visibility, bool), np.asarray(pred_visibility, bool)
    axis = 0 if per_track else None

    def total(mask: np.ndarray) -> np.ndarray:
        return np.sum(mask & counted, axis=axis)

    out: dict[str, Any] = {
        "occlusion_accuracy": _ratio(total(seen == found), total(counted))
    }
    squared = _squared_distance(true_xy, pred_xy)
    num_seen = total(seen)
    for d in THRESHOLDS:
        near = squared < d**2
        hits = total(near & seen & found)
        false = total(found & ~(seen & near))
        out[f"pts_within_{d}"] = _ratio(total(near & seen), num_seen)
        out[f"jaccard_{d}"] = _ratio(hits, num_seen + false)
    for name, part in (
        ("average_jaccard", "jaccard"),
        ("average_pts_within_thresh", "pts_within"),
    ):
        out[name] = np.mean([out[f"{part}_{d}"] for d in THRESHOLDS], axis=0)
    return {name: value.tolist() for name, value in out.items()}


@dataclasses.dataclass(frozen=True)
class PointScores:
    """TAP-Vid numbers of any number of videos."""

    videos: tuple[dict[str, Any], ...] = ()

    def update(self, *arrays: Any, mode: QueryMode = "first") -> "PointScores":
        """Adds one video; arrays as in `point_accuracy`."""
        return self.merge(PointScores((point_accuracy(*arrays, mode=mode),)))

    def merge(self, other: "PointScores") -> "PointScores":
        """The videos of both."""
        return PointScores(self.videos + other.videos)

    def compute(self) -> dict[str, Any]:
        """Means over videos."""
        return mean_of_results(self.videos)


@dataclasses.dataclass(frozen=True)
class RedetectionScores:
    """Re-appearances of any number of videos, pooled.

    An event is a frame in which a point is visible and was not just before; its gap is
    the number of frames that it was not. Of one point only the events with a gap above
    all its earlier gaps count.
    """

    gap: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    jaccard: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, len(THRESHOLDS)))
    )

    def update(
        self,
        true_xy: np.ndarray,
        true_visibility: np.ndarray,
        pred_xy: np.ndarray,
        pred_visibility: np.ndarray,
    ) -> "RedetectionScores":
        """Adds one video; arrays as in `point_accuracy`."""
        seen = np.asarray(true_visibility, bool)
        found = np.asarray(pred_visibility, bool)
        squared = _squared_distance(true_xy, pred_xy)
        gaps, rows = [], []
        for n in range(seen.shape[1]):
            for t, gap in _growing_gaps(seen[:, n]):
                gaps.append(gap)
                rows.append(_event(seen[t:, n], found[t:, n], squared[t:, n]))
        return self.merge(
            RedetectionScores(
                np.array(gaps, np.int64), np.array(rows).reshape(-1, len(THRESHOLDS))
            )
        )

    def merge(self, other: "RedetectionScores") -> "RedetectionScores":
        """The events of both."""
        return RedetectionScores(
            np.concatenate([self.gap, other.gap]),
            np.concatenate([self.jaccard, other.jaccard]),
        )

    def compute(self) -> dict[str, float]:
        """`AJ_RD_D{D}_dmin{gap}`, the means over D, and `AJ_RD`; NaN without events."""
        out: dict[str, float] = {}
        for least in MIN_GAPS:
            rows = self.jaccard[self.gap >= least]
            means = [nan_mean(rows[:, k]) for k in range(len(THRESHOLDS))]
            for d, mean in zip(THRESHOLDS, means, strict=True):
                out[f"AJ_RD_D{d}_dmin{least}"] = mean
            out[f"AJ_RD_dmin{least}"] = nan_mean(np.array(means))
        total = np.array([out[f"AJ_RD_dmin{least}"] for least in MIN_GAPS])
        return out | {"AJ_RD": nan_mean(total)}


def _event(seen: np.ndarray, found: np.ndarray, squared: np.ndarray) -> list[float]:
    """Jaccard from the re-appearance to the end; here a distance of D counts."""
    out = []
    for d in THRESHOLDS:
        near = squared <= d**2
        hits = np.count_nonzero(near & seen & found)
        false = np.count_nonzero(found & ~(seen & near))
        possible = np.count_nonzero(seen) + false
        out.append(hits / possible if possible else float("nan"))
    return out


def _growing_gaps(seen: np.ndarray) -> list[tuple[int, int]]:
    """Frame and gap of the re-appearances, each with a larger gap than all before."""
    starts = np.flatnonzero(seen[1:] & ~seen[:-1]) + 1
    out, largest = [], 0
    for t in starts.tolist():
        earlier = np.flatnonzero(seen[:t])
        gap = t - 1 - (int(earlier[-1]) if earlier.size else -1)
        if gap > largest:
            out.append((t, gap))
            largest = gap
    return out


def _counted_frames(
    query_frames: np.ndarray, num_frames: int, mode: QueryMode
) -> np.ndarray:
    frames = np.arange(num_frames)[:, None]
    start = np.round(np.asarray(query_frames, np.float64)).astype(np.int64)[None]
    if mode not in ("first", "strided"):
        raise ValueError(f"query mode {mode!r}; there are 'first' and 'strided'")
    return frames > start if mode == "first" else frames != start


def _squared_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    delta = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.sum(delta * delta, axis=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
