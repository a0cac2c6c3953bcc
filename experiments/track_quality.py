"""Point tracks without weights against Lucas-Kanade, on true tracks: AJ, delta, OA.

    python experiments/track_quality.py --seeds 0 1 2 3 4

Clips of config.world.scene=gliding. Each true point is asked for in the first frame
that shows it, and followed to the end of the clip (TAP-Vid, query first, pixels of a
256 x 256 raster). Ours is what the job motion_seg does: optical flow by dense inverse
search, chained while it leads back. The other is pyramidal Lucas-Kanade of OpenCV
(windows of 21 x 21 pixels, 3 levels above the image), frame by frame, with a
forward-backward check of 1 pixel. A point that is lost is not seen from then on, and
its place is where the motion would have taken it. "Found again": it is seen once the
check has held for two frames in a row, of both trackers.
"""

import argparse
import functools
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from egojax.data.world import gliding
from egojax.methods.dense_flow import inverse_search
from egojax.methods.point_following import FlowStep, Followed, follow
from egojax.methods.point_tracking import TrackSettings
from egojax.metrics import PointScores, Queries, format_table, sample_queries
from egojax.types import Clip

RASTER = 256  # Pixels a side, in which TAP-Vid counts.
WINDOW, LEVELS, GAP = (21, 21), 3, 1.0  # Of Lucas-Kanade; pixels.
AGAIN = 2  # Frames.
NAMES = {
    "average_jaccard": "AJ %",
    "average_pts_within_thresh": "delta %",
    "occlusion_accuracy": "OA %",
}


class Case(NamedTuple):
    """A clip and its true tracks."""

    frames: list[np.ndarray]  # uint8 (H, W, 3)
    tracks_xy: np.ndarray  # (T, N, 2), pixels.
    visibility: np.ndarray  # bool (T, N)


def read_case(clip: Clip) -> Case:
    """The frames and true tracks of a clip of the world."""
    assert clip.frames is not None and clip.truth is not None
    assert clip.truth.tracks is not None
    tracks = [clip.truth.tracks[t] for t in range(clip.num_frames)]
    return Case(
        [clip.frames[t] for t in range(clip.num_frames)],
        np.stack([row.tracks_xy for row in tracks]),
        np.stack([row.visibility for row in tracks]),
    )


def chain(frames: Sequence[np.ndarray], queries: Queries, again: int = 0) -> Followed:
    """Ours."""
    steps = (
        FlowStep.of(inverse_search(here, there), inverse_search(there, here))
        for here, there in itertools.pairwise(frames)
    )
    begin, points = _begin(queries)
    return follow(points, begin, steps, TrackSettings().tolerance, again)


def lucas_kanade(
    frames: Sequence[np.ndarray], queries: Queries, again: int = 0
) -> Followed:
    """Pyramidal Lucas-Kanade, forward and back."""
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    begin, here = _begin(queries)
    enough = again or 1
    right = np.where(begin == 0, enough, -1)  # As in `point_following.follow`.
    places, seen = [here.copy()], [right >= enough]
    high, wide = grays[0].shape
    for t in range(1, len(frames)):
        goes = begin < t
        start = here[goes]
        there, found = _flow_of_points(grays[t - 1], grays[t], start)
        back, returned = _flow_of_points(grays[t], grays[t - 1], there)
        inside = ((there >= 0) & (there <= (wide, high))).all(-1)
        near = np.linalg.norm(back - start, axis=-1) < GAP
        kept = found & returned & inside & near
        here[goes] = np.where(found[:, None], there, start)
        on = right[goes]
        right[goes] = np.where(kept & (on >= 0), on + 1, 0 if again else -1)
        right[begin == t] = enough
        places.append(here.copy())
        seen.append(right >= enough)
    return Followed(np.stack(places), np.stack(seen))


def _flow_of_points(
    gray: np.ndarray, later: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where points go (N, 2), and whether they were found (N,)."""
    if not len(points):
        return points, np.zeros(0, bool)
    # OpenCV has (0, 0) in the centre of the first pixel.
    start = (points - 0.5).astype(np.float32)[:, None]
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        gray, later, start, np.zeros_like(start), winSize=WINDOW, maxLevel=LEVELS
    )
    return there[:, 0] + np.float32(0.5), status.ravel() > 0


def _begin(queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    table = queries.queries_txy
    return table[:, 0].astype(int), table[:, 1:].astype(np.float32)


TRACKERS = {
    "DIS, chained": chain,
    "Lucas-Kanade": lucas_kanade,
    "DIS, found again": functools.partial(chain, again=AGAIN),
    "Lucas-Kanade, found again": functools.partial(lucas_kanade, again=AGAIN),
}


def measure(case: Case) -> dict[str, dict[str, float]]:
    """The numbers of each tracker, and its seconds of the processor."""
    high, wide = case.frames[0].shape[:2]
    scale = RASTER / np.array([wide, high])
    queries = sample_queries(case.tracks_xy, case.visibility)
    true_xy = case.tracks_xy[:, queries.track] * scale
    true_seen = case.visibility[:, queries.track]
    rows = {}
    for name, tracker in TRACKERS.items():
        begin = time.process_time()
        found = tracker(case.frames, queries)
        seconds = time.process_time() - begin
        scores = PointScores().update(
            *(queries.queries_txy[:, 0], true_xy, true_seen),
            *(found.places * scale, found.seen),
        )
        numbers = scores.compute()
        row = {short: 100 * numbers[key] for key, short in NAMES.items()}
        rows[name] = {**row, "CPU s": seconds}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    seeds = parser.parse_args().seeds
    found = {seed: measure(read_case(gliding.gliding_clip(seed))) for seed in seeds}
    for name in TRACKERS:
        rows = {str(seed): row[name] for seed, row in found.items()}
        columns = [*next(iter(rows.values()))]
        mean = {c: float(np.mean([r[c] for r in rows.values()])) for c in columns}
        print(format_table({**rows, "mean": mean}, columns, corner=name))


if __name__ == "__main__":
    main()
